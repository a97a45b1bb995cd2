"""The seam to language models: chat endpoints, transformers folders, GGUF files, and building one from settings."""

import subprocess
import sys

import pytest

from llmrec_django.engine.writers import Prompt, TextGenerator, build_writer
from llmrec_django.engine.writers.chat import ChatWriter
from llmrec_django.engine.writers.transformers import TransformersWriter
from llmrec_django.exceptions import MissingDependency, WriterError, WriterUnavailable
from tests.writing.conftest import chat

PROMPT = Prompt("You write.", "A very secret fact.", max_tokens=7)
CHAT = "llmrec_django.engine.writers.chat.ChatWriter"
KEY = "sk-very-secret"


def make(service, **options):
    return ChatWriter(service.url, "tiny", **{"retry_wait_s": 0, "timeout_s": 5, **options})


class TestChat:
    def test_the_prompt_goes_out_and_the_text_comes_back(self, service):
        service.answers = [chat("A text.")]
        writer = make(service, extra_body={"top_p": 0.9, "model": "not this"})
        assert writer.generate(PROMPT) == "A text."
        assert service.requests == [
            {
                "model": "tiny",
                "messages": [
                    {"role": "system", "content": "You write."},
                    {"role": "user", "content": "A very secret fact."},
                ],
                "max_tokens": 7,
                "temperature": 0,
                "top_p": 0.9,
                "stream": False,
            }
        ]
        writer.generate(PROMPT, attempt=1)
        assert service.requests[1]["temperature"] == 0.7

    def test_what_a_model_thinks_aloud_is_no_text(self, service):
        service.answers = [chat("<think>\nHm, secrets.\n</think>\n\nA text.")]
        assert make(service).generate(PROMPT).strip() == "A text."

    def test_a_busy_service_is_asked_again_and_others_are_not(self, service):
        service.answers = [chat("", status=503), chat("A text.")]
        assert make(service).generate(PROMPT) == "A text."
        service.answers = [chat("", status=401)]
        with pytest.raises(WriterUnavailable):
            make(service).generate(PROMPT)
        assert len(service.requests) == 3

    @pytest.mark.parametrize(
        ("status", "error"), [(400, WriterError), (404, WriterUnavailable), (500, WriterUnavailable)]
    )
    def test_errors_name_neither_prompt_nor_key_nor_answer(self, service, status, error, monkeypatch):
        monkeypatch.setenv("WRITER_KEY", KEY)
        service.answers = [chat("a very secret answer", status=status)]
        with pytest.raises(error) as caught:
            make(service, api_key_env="WRITER_KEY").generate(PROMPT)
        assert "secret" not in str(caught.value)
        assert "chat/completions" in str(caught.value)
        assert service.headers[0]["Authorization"] == f"Bearer {KEY}"

    @pytest.mark.parametrize("key", ["", "with space", "line\nbreak"])
    def test_a_key_that_cannot_be_sent_is_said(self, service, monkeypatch, key):
        monkeypatch.setenv("WRITER_KEY", key)
        with pytest.raises(WriterUnavailable, match="key"):
            make(service, api_key_env="WRITER_KEY").generate(PROMPT)
        assert service.requests == []

    def test_its_id_names_the_model_and_its_options_not_the_address(self, service):
        assert make(service).model_id == ChatWriter("http://127.0.0.1:1/v1", "tiny").model_id
        ids = {make(service, **options).model_id for options in ({}, {"revision": "2"}, {"extra_body": {"top_p": 0.9}})}
        assert len(ids) == 3

    def test_where_the_prompts_go_is_known(self, service):
        assert make(service).is_local
        far = ChatWriter("http://llm.example/v1", "tiny", api_key="x")
        assert far.is_remote
        assert not far.is_local
        assert "unencrypted" in far.check()[0]

    @pytest.mark.parametrize("options", [{"timeout_s": 0}, {"max_retries": -1}, {"temperature": -1}])
    def test_senseless_options_are_refused(self, service, options):
        with pytest.raises(ValueError, match="must be"):
            make(service, **options)


class Echo(TextGenerator):
    model_id = "echo"

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix

    def generate(self, prompt, *, attempt=0):
        return self.prefix + prompt.user


class TestBuilding:
    def test_a_sites_own_class_is_built_with_its_options(self):
        assert build_writer(f"{__name__}.Echo", {"prefix": "> "}).generate(PROMPT) == "> A very secret fact."

    @pytest.mark.parametrize(
        ("backend", "options", "message"),
        [
            ("no.such.module", {}, "no such class"),
            (f"{__name__}.Nothing", {}, "no such class"),
            ("nonsense", {}, "no such class"),
            (f"{__name__}.Prompt", {}, "no subclass"),
            (CHAT, {"base_url": "http://127.0.0.1/v1"}, "model"),
            (CHAT, {"base_url": "ftp://127.0.0.1", "model": "x"}, "http"),
            (CHAT, {"base_url": "http://127.0.0.1", "model": "x", "timeout": 3}, "Did you mean 'timeout_s'"),
        ],
    )
    def test_a_wrong_setting_is_explained(self, backend, options, message):
        with pytest.raises(WriterError, match=message):
            build_writer(backend, options)

    def test_a_missing_package_is_named(self, tmp_path, monkeypatch):
        (tmp_path / "needs_more.py").write_text("import no_such_package_of_ours")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(MissingDependency, match="no_such_package_of_ours"):
            build_writer("needs_more.Writer", {})


def test_building_and_naming_a_model_loads_neither_torch_nor_its_weights(tiny_chat):
    code = (
        "import sys\n"
        "from llmrec_django.engine.writers import build_writer\n"
        "path = 'llmrec_django.engine.writers.transformers.TransformersWriter'\n"
        f"print(build_writer(path, {{'model': {str(tiny_chat)!r}}}).model_id)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tiny_chat")


@pytest.fixture(scope="session")
def tiny_chat(tmp_path_factory):
    """A tiny untrained chat model: what it says means nothing, how it is asked does."""
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    from llmrec_django.engine.encoders.model_files import find_model
    from tests.engine.conftest import MINILM

    path = tmp_path_factory.mktemp("models") / "tiny_chat"
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=30522, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.3, bos_token_id=101, eos_token_id=102,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(find_model(MINILM))
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.model
class TestTransformers:
    def test_it_answers_alike_at_first_and_otherwise_later(self, tiny_chat):
        writer = TransformersWriter(str(tiny_chat), device="cpu")
        first = writer.generate(PROMPT)
        assert first.strip()
        assert len(first.split()) <= 7
        assert writer.generate(PROMPT) == first
        assert writer.generate(PROMPT, attempt=1) == writer.generate(PROMPT, attempt=1)
        assert len({writer.generate(PROMPT, attempt=n) for n in range(1, 5)}) > 1

    def test_a_prompt_that_is_too_long_is_refused(self, tiny_chat):
        with pytest.raises(WriterError, match="max_input_tokens"):
            TransformersWriter(str(tiny_chat), device="cpu", max_input_tokens=5).generate(PROMPT)

    def test_a_model_not_made_for_chats_is_refused(self, tiny_folder):
        with pytest.raises(WriterUnavailable):
            TransformersWriter(str(tiny_folder), device="cpu").generate(PROMPT)

    def test_files_that_are_not_there_are_said(self, tmp_path):
        with pytest.raises(WriterUnavailable, match="no folder"):
            TransformersWriter(str(tmp_path / "nowhere")).generate(PROMPT)
        assert any("no file" in problem for problem in TransformersWriter(str(tmp_path), gguf_file="a.gguf").check())
        assert TransformersWriter(str(tmp_path / "nowhere")).check()

    @pytest.mark.parametrize("options", [{"dtype": "int3"}, {"max_input_tokens": 0}, {"timeout_s": 0}])
    def test_senseless_options_are_refused(self, options):
        with pytest.raises(ValueError, match="must be"):
            TransformersWriter("x", **options)
