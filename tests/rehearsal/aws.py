"""The emulated AWS account, which is empty at first."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import boto3
import requests

from quoteapi.settings import ROOT
from tests.rehearsal.checks import CheckFailed

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

ACCOUNT, REGION = "123456789012", "us-east-1"
OPERATOR_KEY, FUNCTION_KEY = "AKIA1OPERATOR1LAPTOP", "ASIA1FUNCTION1LAMBDA"
"""The access keys of the operator's laptop and of the function. The rehearsal itself has another, which may do all."""
BUCKET = f"quoteapi-{ACCOUNT}-{REGION}"
"""The bucket that `quoteapi setup` creates."""
DOMAIN = "quotes.example.org"
WEB_PAGE = "www.example.org"
UNREACHABLE_PROXY = "http://127.0.0.1:9"
"""A proxy that refuses connections, so that requests to other hosts fail, such as Zappa's check for updates."""
PACKAGE_PATH = "/rehearsal/code/"
"""The path at which the emulator serves a function's package; AWS has a presigned URL for each."""
SANDBOX_PATH = "/rehearsal/sms-sandbox"
"""The path at which the emulator serves and changes the SMS sandbox."""
TIMEOUT_SECONDS = 20


class AwsRequest(NamedTuple):
    """A recorded request to AWS."""

    method: str
    path: str
    action: str
    is_asynchronous: bool
    fields: dict[str, str]
    """The form fields, for services with the query protocol."""
    body: str
    status: int
    caller: str = ""
    """Who made the request; empty for one who may do everything, such as the rehearsal itself."""
    permissions: list[tuple[str, str]] = []  # noqa: RUF012 never changed
    """The actions, and their resources, that the request requires."""
    denied: str = ""
    """A sentence that says which permission the caller lacks; empty if none."""

    @property
    def is_sms(self) -> bool:
        """Whether it sends an SMS to a single number."""
        return self.action == "Publish" and "PhoneNumber" in self.fields


def _parse_request(line: bytes) -> AwsRequest:
    request = AwsRequest(**json.loads(line))
    return request._replace(permissions=[(action, resource) for action, resource in request.permissions])


class Aws:
    """An emulated AWS account, kept in memory."""

    def __init__(self, address: str, record: Path) -> None:
        self.address = address
        self._record = record
        self._session = boto3.Session("testing", "testing", region_name=REGION)
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:  # noqa: ANN401 each service has its own type
        """Return the boto3 client of a service."""
        if service not in self._clients:
            self._clients[service] = self._session.client(cast("Any", service), endpoint_url=self.address)
        return self._clients[service]

    def limit(self, key: str, name: str, **rights: object) -> None:
        """Hold the requests with an access key against a `policy`, or against the policies of a `role`."""
        file = limits_file(self._record)
        limits = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**limits, key: {"name": name, **rights}}))

    def variables(self, key: str = OPERATOR_KEY) -> dict[str, str]:
        """Return the environment of a process that has an access key of this account, and reaches no other host."""
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.address,
            "AWS_EC2_METADATA_DISABLED": "true",
            "HTTP_PROXY": UNREACHABLE_PROXY,
            "HTTPS_PROXY": UNREACHABLE_PROXY,
            "NO_PROXY": "127.0.0.1",
        }

    def requests(self, after: int = 0) -> list[AwsRequest]:
        """Return the requests so far, oldest first; without those in the first `after` bytes of the record."""
        with self._record.open("rb") as lines:
            lines.seek(after)
            return [_parse_request(line) for line in lines if line.endswith(b"\n")]

    def recorded_bytes(self) -> int:
        """Return the size of the record of requests."""
        return self._record.stat().st_size

    @contextmanager
    def hold(self, action: str) -> Iterator[Callable[[], bool]]:
        """Send no responses to requests for an action until the block ends. Yield whether there was such a request."""
        file, before = held_response(self._record, action), self.recorded_bytes()
        file.touch()
        try:
            yield lambda: any(each.action == action for each in self.requests(before))
        finally:
            file.unlink()

    def package_of(self, function: str) -> bytes:
        """Return the uploaded package of a function."""
        return requests.get(f"{self.address}{PACKAGE_PATH}{function}", timeout=TIMEOUT_SECONDS).content

    def enter_sms_sandbox(self) -> None:
        """Put the account into the SMS sandbox, where a new account is."""
        self._sandbox({"is_in_sandbox": True})

    def sandbox_code(self, mobile: str) -> str:
        """Return the newest code that AWS sent to verify a number of the SMS sandbox."""
        return self._sandbox({})[mobile][-1]

    def _sandbox(self, changes: Mapping[str, object]) -> dict[str, list[str]]:
        response = requests.post(f"{self.address}{SANDBOX_PATH}", json=changes, timeout=TIMEOUT_SECONDS)
        return cast("dict[str, list[str]]", response.json())

    def put_remote_environment(self, name: str, values: Mapping[str, str]) -> None:
        """Upload the JSON file that a function reads its settings from."""
        s3: S3Client = self.client("s3")
        s3.put_object(Bucket=BUCKET, Key=name, Body=json.dumps(values).encode())

    def read_remote_environment(self, name: str) -> dict[str, str]:
        """Return the JSON file that a function reads its settings from."""
        s3: S3Client = self.client("s3")
        values: dict[str, str] = json.load(s3.get_object(Bucket=BUCKET, Key=name)["Body"])
        return values

    def create_network(self) -> tuple[list[str], str]:
        """Create a private network. Return the IDs of its subnets and of a security group."""
        ec2: EC2Client = self.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24")["Subnet"]["SubnetId"] for number in (1, 2)
        ]
        group = ec2.create_security_group(VpcId=vpc, GroupName="quoteapi", Description="quoteapi")["GroupId"]
        return subnets, group

    def dead_letters(self, name: str) -> list[str]:
        """Return the bodies of the messages in a dead-letter queue."""
        sqs: SQSClient = self.client("sqs")
        queue = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        return [
            message["Body"]
            for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        ]

    def send_to_dead_letter_queue(self, event: object, target: str) -> None:
        """Send an event to a dead-letter queue, as Lambda does after the last attempt."""
        sqs: SQSClient = self.client("sqs")
        queue = sqs.get_queue_url(QueueName=target.rpartition(":")[2])["QueueUrl"]
        sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(event))

    def function(self, name: str) -> dict[str, Any]:
        """Return the configuration of a function. Raises `ResourceNotFoundException`."""
        client: LambdaClient = self.client("lambda")
        return cast("dict[str, Any]", client.get_function(FunctionName=name)["Configuration"])


def held_response(record: Path, action: str) -> Path:
    """Return the file during whose existence the emulated AWS sends no response to requests for an action."""
    return record.with_name(f"held {action}")


def limits_file(record: Path) -> Path:
    """Return the file that says which access keys are limited by a policy."""
    return record.with_name("limits")


@contextmanager
def emulate_aws() -> Iterator[Aws]:
    """Run an emulated AWS in a process of its own until the block ends."""
    with tempfile.TemporaryDirectory(prefix="quoteapi-aws-") as name:
        folder = Path(name)
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": name, "MOTO_ACM_VALIDATION_WAIT": "1"}
        with (
            (folder / "log").open("w") as log,
            subprocess.Popen(
                [sys.executable, "-m", "tests.rehearsal.emulator", str(folder / "requests")],
                cwd=folder,
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            assert process.stdout is not None
            (folder / "requests").touch()
            port = process.stdout.readline().strip()
            if not port:
                raise CheckFailed(f"the emulated AWS did not start:\n{(folder / 'log').read_text()}")
            try:
                yield Aws(f"http://127.0.0.1:{port}", folder / "requests")
            finally:
                process.kill()
