"""The reverse proxies of Debian's packages, run with the configurations that docs/operate.md shows."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quoteapi.settings import ROOT
from tests.helpers.browser import IN_CI
from tests.helpers.servers import reserve_port
from tests.helpers.waiting import LIMIT_SECONDS

PROXIES = {"nginx": "nginx", "haproxy": "haproxy", "caddy": "caddy", "apache": "apache2"}
"""The program of each block of configuration in docs/operate.md."""
MODULES = ("mpm_event", "authz_core", "proxy", "proxy_http", "headers", "reqtimeout")
NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/log;
events {{}}
http {{
access_log off;
client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
scgi_temp_path {folder};
{block}
}}
"""
APACHE = """
{modules}
User #65534
Group #65534
PidFile {folder}/pid
DefaultRuntimeDir {folder}
ServerName localhost
ErrorLog {folder}/log
Listen 127.0.0.1:{port}
{block}
"""
COMMANDS = {
    "nginx": ("nginx", "-e", "stderr", "-c", "{file}"),
    "haproxy": ("haproxy", "-db", "-f", "{file}"),
    "caddy": ("caddy", "run", "--adapter", "caddyfile", "--config", "{file}"),
    "apache": ("apache2", "-X", "-f", "{file}"),
}


def require_proxies() -> None:
    """Skip a test module if a proxy is not installed; raise `RuntimeError` in CI."""
    missing = [program for program in PROXIES.values() if find_program(program) is None]
    if missing:
        message = f"not installed: {', '.join(missing)} (on Debian: apt install nginx haproxy caddy apache2-bin)"
        if IN_CI:
            raise RuntimeError(message)
        pytest.skip(message, allow_module_level=True)


def find_program(name: str) -> str | None:
    """Return the path of a program, also of one in /usr/sbin, which is not in every PATH."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def documented_configuration(proxy: str) -> str:
    """Return the configuration of a proxy that docs/operate.md shows."""
    (block,) = re.findall(rf"```{proxy}\n(.*?)```", (ROOT / "docs/operate.md").read_text(), re.DOTALL)
    return str(block)


@contextmanager
def run_reverse_proxy(proxy: str, server: str, folder: Path) -> Iterator[str]:
    """Run a proxy in front of a server, as docs/operate.md shows but for the ports. Yields its base URL."""
    reserved = reserve_port()
    port = reserved.getsockname()[1]
    block = documented_configuration(proxy).replace("http://quotes.example.org", f"http://127.0.0.1:{port}")
    for pattern, replacement in (
        (r"127\.0\.0\.1:8000", server.removeprefix("http://")),
        (r"listen 80;", f"listen 127.0.0.1:{port};"),
        (r"bind :80\b", f"bind 127.0.0.1:{port}"),
        (r"\*:80\b", f"127.0.0.1:{port}"),
    ):
        block = re.sub(pattern, replacement, block)
    modules = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in MODULES)
    wrapped = {"nginx": NGINX, "apache": APACHE, "caddy": "{{\nadmin off\n}}\n{block}"}.get(proxy, "{block}")
    file = folder / f"{proxy}.conf"
    file.write_text(wrapped.format(block=block, folder=folder, port=port, modules=modules))
    program, *arguments = COMMANDS[proxy]
    command = [find_program(program) or program, *(word.format(file=file) for word in arguments)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with (folder / f"{proxy}.output").open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=output)
    try:
        _wait_until_it_listens(port, process, folder)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(LIMIT_SECONDS)
        reserved.close()


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError("\n".join(path.read_text() for path in folder.glob("*.output")))
