import pytest

from llmrec_django.engine.text import RECIPE, clean_text, compose_text, text_hash


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("", ""),
        ("plain", "plain"),
        ("  two \t words\u00a0here \n", "two words here"),
        ("<p>Hello, <b>bo</b>ld &amp; brave</p><p>world</p>", "Hello, bold & brave\nworld"),
        ("one<br>two<br/>three", "one\ntwo\nthree"),
        ("<table><tr><td>one</td><td>two</td></tr></table>", "one\ntwo"),
        ("<ul><li>a<li>b</ul>", "a\nb"),
        ("<script>alert('x < y')</script>seen<style>p {color: red}</style>", "seen"),
        ("<SCRIPT src='x'>1</SCRIPT >seen", "seen"),
        ("before <!-- <p>hidden</p> --> after", "before after"),
        ("never <!-- closed", "never <!-- closed"),
        ("<!DOCTYPE html><html><body>page</body></html>", "page"),
        ("a < b and b > c", "a < b and b > c"),
        ("if x<y then z", "if x<y then z"),
        ("x <b", "x <b"),
        ("5<p", "5<p"),
        ("List<String> of Map<K, V>", "List<String> of Map<K, V>"),
        ("&lt;div&gt; is an element", "<div> is an element"),
        ("<problem>What is <o:p>2</o:p>?</problem>", "What is 2 ?"),
        ('<a href="x>y" title="z">link</a>', "link"),
        ("caf\u0065\u0301", "caf\u00e9"),
        ("nul\x00 bell\x07 soft\u00adhyphen \ud800lone", "nul bell softhyphen lone"),
        ("机器学习\u3000导论", "机器学习 导论"),
        ("AT&T &#20013;&#x6587; &nbsp;&copy;", "AT&T 中文 ©"),
        ("<img alt='x'>", ""),
    ],
)
def test_clean_text_gives_what_a_reader_sees(raw, clean):
    assert clean_text(raw) == clean


@pytest.mark.parametrize(
    "unit", ["<", "<a ", "<!--", "<a href='", "</", "&", "<![CDATA[", "<p>", "<script>", '<a b="<']
)
def test_clean_text_does_not_choke_on_hostile_markup(unit):
    # A cleaner whose time grew with the square of the text would not come back from this.
    assert clean_text("seen " + unit * 200_000).startswith("seen")


def test_compose_text_follows_the_recipe():
    text = compose_text(
        "Linear algebra",
        "<p>Vectors &amp; matrices.</p>",
        ["maths", "Maths", "", None, 101],
        {"zh-hans": {"title": "线性代数", "description": "向量与矩阵。"}, "de": {"title": "Lineare Algebra"}},
        "Chapter 1",
    )
    assert text == (
        "Linear algebra\nVectors & matrices.\nmaths, 101\nLineare Algebra\n线性代数\n向量与矩阵。\nChapter 1"
    )
    assert RECIPE == "title-description-keywords-translations-body/1"


def test_compose_text_says_nothing_twice():
    assert compose_text("Algebra", "<b>algebra</b>", ["Algebra"], {"fr": {"title": "Algebra"}}, "ALGEBRA") == "Algebra"


def test_compose_text_of_nothing_is_empty():
    assert compose_text() == ""
    assert compose_text(" ", "<p></p>", None, {"de": None, "fr": {}}, "\x00") == ""


def test_compose_text_does_not_depend_on_the_order_of_translations():
    one = {"a": {"title": "x"}, "b": {"title": "y"}}
    assert compose_text(translations=one) == compose_text(translations=dict(reversed(one.items())))


def test_text_hash_is_stable_and_tells_texts_apart():
    assert text_hash("") == "cae66941d9efbd404e4d88758ea67670"
    assert len(text_hash("机器学习")) == 32
    assert text_hash("a") != text_hash("b")
