"""TLS, for HTTP and gRPC, with a certificate made by openssl."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import grpc
import pytest

OPENSSL = shutil.which("openssl")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.skipif(OPENSSL is None, reason="no openssl")
def test_both_protocols_answer_by_tls_alone(made: Path, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make = f"{OPENSSL} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    named = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make.split(), *named], check=True, capture_output=True)
    port, grpc_port = free_port(), free_port()
    files = ["--certificate", str(certificate), "--key", str(key)]
    ports = ["--port", str(port), "--grpc-port", str(grpc_port)]
    command = [sys.executable, "-m", "potstill.cli", "serve", str(made), *ports, *files]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        trusted = ssl.create_default_context(cafile=str(certificate))
        said = b""
        for _ in range(300):
            try:
                with urllib.request.urlopen(
                    f"https://127.0.0.1:{port}/v2/health/ready", context=trusted, timeout=10
                ) as answer:
                    said = answer.read()
                break
            except OSError:
                time.sleep(0.1)
        assert said == b'{"ready":true}'
        with pytest.raises(OSError, match=r"."):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=10)
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(f"127.0.0.1:{grpc_port}", credentials) as channel:
            live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
            assert live(b"", timeout=10) == b"\x08\x01"  # the first field, true
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
            with pytest.raises(grpc.RpcError):
                live(b"", timeout=2)
    finally:
        process.terminate()
        process.wait(20)
