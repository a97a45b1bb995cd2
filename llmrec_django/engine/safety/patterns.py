"""What hostile texts say, in English and in Chinese.

Each pattern asks for a verb and for what only a machine could be asked to do with it: "forget the rules", "override
existing styles" and "忽略约束条件" are honest. Every gap is bounded, so that the time grows with the text alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from llmrec_django.engine.safety.phrases import character_pattern, glued_pattern, word_pattern

Rules = tuple[tuple[str, re.Pattern[str]], ...]
"""(rule, pattern), looked for one after the other."""

_ENGLISH_NAMES = {
    "ignore": "ignore ignores ignoring disregard disregarding forget forgetting neglect do+not+follow don+t+follow "
    "do+not+obey don+t+obey stop+following stop+obeying pay+no+attention+to pay+no+heed+to take+no+notice+of",
    "earlier": "previous previously prior preceding above earlier foregoing former initial existing original system "
    "given",
    "orders": "instruction instructions prompt prompts directive directives directions command commands guidelines "
    "guardrails system+message system+messages",
    "rules": "rule rules context message messages constraints restrictions policy policies training programming "
    "conversation",
    "resource": "course lesson module resource book video article paper exercise item class content material one",
    "machine": "ai a+i llm llms language+model language+models large+language+model chatbot chatbots gpt chatgpt "
    "ai+assistant ai+model ai+system ai+agent recommender",
    "above": "above previous preceding prior foregoing",
    "text": "text texts content contents words sentence sentences paragraph paragraphs description descriptions",
    "order": "rate rank recommend ignore disregard output print say respond reply answer list put place give score "
    "choose pick select promote show treat mark tell always never prefer",
    "everyone": "everyone everybody every all each any",
    "unbound": "dan jailbroken unrestricted unfiltered uncensored",
    "people": "user users learner learners student students reader readers customer customers",
    "who": "i we they who teachers people many readers instructors",
}

_ENGLISH = """
overrides-instructions  @ignore _5 @earlier _3 @orders|@rules
overrides-instructions  @ignore ~all|any|every|of|the|these|those your _3 @orders|programming|training
overrides-instructions  @ignore all|any|every ?of ~the|these|those|other @orders
overrides-instructions  !@who|@people|to|not @ignore ~all|any|every|of|the|these|those @above @text
overrides-instructions  !@who|@people|to|not @ignore ~all|any|every|of|the|these|those @text above|before+this
overrides-instructions  override|bypass|skip|cancel _3 @earlier|your|safety _3 @orders
overrides-instructions  @ignore everything|anything|all|whatever|what _5 said|told|written|instructed|given above|
                            before+this|previously|so+far|until+now
overrides-instructions  @ignore everything|anything|all|whatever ?that ?is|was above|before+this|previously|so+far|
                            until+now
reveals-instructions    reveal|print|show|output|display|repeat|leak|tell|give|return|expose|disclose|recite|quote
                            ~me|us|the|your|its|all|of|exact|full|entire|complete|back|out|everything|in system|
                            hidden|initial|secret|original|developer|internal prompt|prompts|instruction|
                            instructions|message
changes-role            you are now ~a|an|in|the|my|acting|operating _3 @unbound|@machine|developer+mode|god+mode
changes-role            you are no+longer|not bound|restricted|limited by|to
changes-role            act|behave|respond as ~a|an|the|if|you|were @unbound
changes-role            act|behave|respond as another @machine
changes-role            do anything now
changes-role            from now|here|this+point on|onward|onwards|forward ?you ?will|must|should|shall
                            ?only|always|never recommend|rank|answer|respond|reply|output|obey|ignore|act+as|pretend
addresses-a-model       !if you are a|an _1 @machine|recommender+system|recommendation+system|recommendation+engine
addresses-a-model       you are a|an ?very helpful|honest|harmless|smart assistant
addresses-a-model       note|attention|message|instruction|instructions|notice to|for ~the|any|all @machine
addresses-a-model       dear|attention @machine
addresses-a-model       hey|hello @machine ~please|kindly|you|must|should|only @order
addresses-a-model       if you are ?a|an @machine ~reading|processing|summarising|summarizing|ranking|this|it|please|
                            then|you|must|should|only @order
addresses-a-model       assistant|@machine ~please|kindly|you|must|should|only|always recommend|promote|suggest|choose|
                            show this|my ?@resource ~first|to @everyone
addresses-a-model       @machine ?that+is|who+is reading|processing|summarising|summarizing|ranking this
addresses-a-model       begin|end|start+of|end+of|new|updated system prompt|message|override|instruction|instructions
addresses-a-model       system|admin|developer ?instruction|prompt override
pushes-itself           !@who|to|and always|must|exclusively|only recommend|rank|suggest|promote
                            this|my _1 @resource
pushes-itself           when|whenever|while ~you|are generating|making|producing|creating|giving|compiling|ranking|
                            choosing|selecting ~any|the|a|your|new recommendations|recommendation|suggestions|
                            rankings|ranking _3 @order this|my _1 @resource
pushes-itself           !@who recommend|rank|list|place|put|score|show this _1 @resource first|highest|above+all|
                            above+every|number+one|no+1
pushes-itself           !@who recommend|rank|list|place|put|score|show this _1 @resource at the ?very top
pushes-itself           !@who recommend|show this _1 @resource to @everyone ?@people
pushes-itself           do+not|don+t|never recommend|suggest|show|rank ~any|the other|others|another|competing|
                            anything+else|something+else
pushes-itself           set|give|assign this|it _1 ~a|the score|rating|rank|relevance ?score ~of|to max|maximum|
                            highest|five|ten|5|10|100
pushes-itself           say|state|claim|write|answer|respond|reply|output ~only|that|with|exactly this|it ?@resource
                            is ?the best|only|perfect|mandatory|required
sends-people-away       tell|convince|instruct|urge|direct|send ~the|all|every|each @people to buy|purchase|pay|
                            transfer|wire|click|subscribe|call|whatsapp
sends-people-away       essay|assignment|dissertation|thesis|homework writing service|services _10 buy|order|cheap|
                            discount|whatsapp|telegram|contact
sends-people-away       buy|order|cheap _1 viagra|cialis|followers|fake+diploma|fake+diplomas|fake+degree|
                            fake+degrees|fake+certificates
sends-people-away       whatsapp|telegram ~me|us|now|at|on 0*|1*|2*|3*|4*|5*|6*|7*|8*|9* _3 0*|1*|2*|3*|4*|5*|6*|7*|
                            8*|9*
"""

_CHINESE_NAMES = {
    "ignore": "忽略 无视 無視 忘记 忘記 忘掉 不要理会 不要理會 别理会 "
    "不要遵守 不要遵循 不再遵守 不再遵循 停止遵守 停止遵循 抛开 拋開 "
    "不要管 不用管 不必管 别管 別管 不用理会 不必理会 不用理會 不必理會 不要在意",
    "earlier": "之前 以前 以上 上面 上述 前面 先前 此前 你的 您的 系统 系統 原有 既有 开发者 開發者",
    "above": "以上 上面 上述 前面 之前 先前 此前 前文 上文",
    "not": "不要 不能 不可 不应 不得 不会 切勿 请勿 勿 别",
    "text": "内容 內容 文字 文本 信息 描述 介绍 介紹 说明 說明 的话 的話 一切 所有",
    "only": "直接 只 仅 僅 必须 必須 务必 務必 改为 改為 转而 轉而 而是 请 請 你 您",
    "say": "推荐 推薦 输出 輸出 回答 回复 回覆 打印 只说 只說",
    "any": "所有 一切 全部 任何",
    "orders": "指令 指示 提示 命令 instruction prompt",
    "rules": "规则 規則 设定 設定 规定 規定 对话 對話 上下文",
    "secret": "系统提示 系統提示 提示词 提示詞 初始指令 隐藏指令 隱藏指令 系统指令 系統指令 内部指令",
    "machine": "ai 人工智能 人工智慧 大模型 "
    "大语言模型 大語言模型 语言模型 語言模型 推荐系统 推薦系統 推荐算法 智能助手",
    "unbound": "不受 没有限制 没有任何限制 無限制 无限制 开发者模式 開發者模式 "
    "越狱 越獄 管理员 管理員 人工智能 人工智慧 语言模型 語言模型",
    "this": "本 此 这 這 该 該 我的",
    "resource": "课 課 资源 資源 书 書 内容 內容 视频 視頻 论文 論文 教材",
    "always": "必须 必須 务必 務必 始终 始終 总是 總是 永远 永遠 只能 无论如何 無論如何",
    "recommend": "推荐 推薦",
    "people": "用户 用戶 学生 學生 学员 學員 学习者 學習者 读者 讀者 客户",
}

_CHINESE = """
overrides-instructions  @ignore ?了 _6 @earlier|@any _8 @orders
overrides-instructions  @ignore ?了 _4 @earlier _6 @rules
overrides-instructions  !@not @ignore ?了|掉 _2 @above _4 要求|请求|請求
overrides-instructions  !@not @ignore ?了|掉 _2 @above _4 @text _3 @only _3 @say
overrides-instructions  绕过|繞過|跳过|跳過|覆盖|覆蓋|推翻|取消 _4 @earlier _6 指令|提示词|提示詞
reveals-instructions    输出|輸出|显示|顯示|泄露|洩露|打印|告诉我|告訴我|复述|複述|重复|重複|展示|透露|公开 ?出 ?你|
                            您 ?的 ?全部|完整|所有 ?的 @secret
changes-role            你|您 现在|現在|从现在|從現在 ?起|开始|開始 是|就是|扮演|将是|进入|進入|处于 _10 @unbound
changes-role            你|您 不再|已经不|不 受 _8 限制|约束|約束|规则|規則
changes-role            从现在起|从现在开始|從現在起|從現在開始 ?你|您 必须|必須|只能|要|将|將|始终|只 _6 推荐|推薦|
                            回答|输出|輸出|回复|回覆|服从|忽略|扮演
addresses-a-model       你|您 是 ?一个|一個|一名|一位 _6 ai助手|人工智能助手|人工智慧助手|语言模型|語言模型|
                            聊天机器人|推荐系统|推荐助手
addresses-a-model       如果 你|您 是 ?一个|一個|一名|一位 @machine|机器人|機器人 ?助手|模型|系统|系統|程序 请|請|就|
                            那|则|則|必须|必須|务必|務必|应|應|要|在|正在|把|忽略|只|并|不要|推荐|推薦
addresses-a-model       致|告 ?所有|各位 @machine ?助手 请|請|注意|务必|必须
addresses-a-model       @machine 请|請 注意|务必|始终|忽略|推荐|优先
pushes-itself           @always ?都|要|优先|優先 @recommend @this _2 @resource
pushes-itself           不要|不得|禁止|别|勿|停止 ?再 @recommend ?任何 其他|其它|别的|別的|其余|其餘
pushes-itself           把|将|將 @this _6 排|放|置 _3 第一|首位|最前|榜首|最上|顶部|頂部
sends-people-away       告诉|告訴|诱导|誘導|劝|通知|要求 ?所有|每个|每位 ?的 @people ?们 ?去|立即|马上|必须|都|来
                            购买|購買|付款|付费|加微信|添加微信|转账|轉賬|扫码|点击链接|点击以下|点击下方
sends-people-away       代写|代考|替考|代刷|刷网课|办证|裸聊|约炮|博彩|时时彩|六合彩 _30 微信|vx|qq|电话|电报|
                            telegram|联系我
sends-people-away       加|添加 ?我|老师|客服 ?的 微信|vx|v信|薇信 ?号|群 _1 0*|1*|2*|3*|4*|5*|6*|7*|8*|9*|vx|wx
"""

_MARKUP = (
    r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|begin_of_text|(?:start|end)_header_id)\|>",
    r"\[/?inst\]|<</?sys>>|</?(?:system|assistant)(?:[_-]prompt)?>",
    r"(?:^|\n)[ \t]*#{2,4}[ \t]*(?:instructions?|system|response|assistant)[ \t]*:",
    r"(?:^|[\n\"'(\[<>*#-])[ \t]*(?:system|assistant|developer)(?: (?:message|prompt|note))?[ \t]*[:：][ \t\"*]*"
    r"(?:you |ignore|disregard|always |never |from now|你|忽略|请忽略|必须|从现在)",
)

_ACTIVE = (
    r"<script\b[^<>]{0,500}(?:\bsrc\s*=|>[^<]{0,5000}</script)",
    r"<[a-z][^<>]{0,500}\son(?:error|load|click|mouseover|focus|toggle|animationstart)\s*=",
    r"(?:href|src|action|formaction|data)\s*=\s*[\"']?\s*(?:javascript|vbscript|data:text/html)",
)


def _read(
    phrases: str, compile_phrase: Callable[[str, dict[str, str]], re.Pattern[str]], names: dict[str, str]
) -> Rules:
    # A line that begins with a space goes on with the phrase before; one that ended in "|", with its last part.
    joined = re.sub(r"\n +", " ", phrases.strip()).replace("| ", "|")
    rows = (line.split(maxsplit=1) for line in joined.splitlines())
    return tuple((rule, compile_phrase(phrase, names)) for rule, phrase in rows)


ENGLISH_RULES = _read(_ENGLISH, word_pattern, _ENGLISH_NAMES)
"""For words with single spaces between."""
GLUED_RULES = _read(_ENGLISH, glued_pattern, _ENGLISH_NAMES)
"""For words without spaces, which were spelt apart."""
CHINESE_RULES = _read(_CHINESE, character_pattern, _CHINESE_NAMES)
"""For text without spaces and marks between characters."""
MARKUP_RULES: Rules = tuple(("chat-markup", re.compile(pattern)) for pattern in _MARKUP)
"""For folded text with its marks: what separates the voices in a conversation with a model."""
ACTIVE_RULES: Rules = tuple(("active-content", re.compile(pattern, re.IGNORECASE)) for pattern in _ACTIVE)
"""For text as it was stored, where a page might show it."""
