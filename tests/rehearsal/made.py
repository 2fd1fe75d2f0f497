"""The steps that look at what Zappa made, and at what it uploaded."""

import json
from pathlib import Path
from typing import Any

from tests.rehearsal.aws import ACCOUNT, DOMAIN
from tests.rehearsal.project import BESIDE, CANARY
from tests.rehearsal.rehearsal import Rehearsal
from tests.rehearsal.stages import SCHEDULES
from tests.rehearsal.wrong import Wrong, count, holds, lacks, same

MOST_ZIPPED, MOST_UNZIPPED = 12_000_000, 35_000_000
"""Bytes of a package that is fetched and unpacked in a moment; Lambda itself takes 50 and 250 million."""
AUTHORIZER = {
    "Type": "TOKEN",
    "Name": "ZappaAuthorizer",
    "RestApiId": {"Ref": "Api"},
    "IdentitySource": "method.request.header.Authorization",
    "IdentityValidationExpression": "^Bearer [-0-9A-Za-z._]+$",
    "AuthorizerResultTtlInSeconds": 300,
}


def made(rehearsal: Rehearsal) -> None:
    """Look at all that the stage consists of."""
    _function(rehearsal)
    _role(rehearsal)
    _rules(rehearsal)
    _api(rehearsal)
    if rehearsal.stage.has_domain:
        _domain(rehearsal)


def _function(rehearsal: Rehearsal) -> None:
    stage, found, of_stage = rehearsal.stage, rehearsal.configuration, rehearsal.project.of_stage
    same("runtime", found["Runtime"], of_stage(stage.name, "runtime"))
    same("handler", found["Handler"], "handler.lambda_handler")
    same("memory", found["MemorySize"], 512)
    same("time-out", found["Timeout"], 60)
    same("variables", found["Environment"]["Variables"], {"INSTANTIATE_LAMBDA_HANDLER_ON_IMPORT": "true"})
    same("tracing", found["TracingConfig"]["Mode"], "Active" if stage.is_traced else "PassThrough")
    wanted = of_stage(stage.name, "vpc_config") or {}
    for name in ("SubnetIds", "SecurityGroupIds"):
        same(f"network: {name}", sorted((found.get("VpcConfig") or {}).get(name, [])), sorted(wanted.get(name, [])))
    same("is in a network", bool(wanted), stage.is_in_vpc)
    same("dead letters go to", dead_letter_target(rehearsal), _queue_arn() if stage.has_dead_letters else None)


def dead_letter_target(rehearsal: Rehearsal) -> str | None:
    """Answer where failed events go. The emulator does not say, so the request to make the function is looked at."""
    path = "/2015-03-31/functions"
    asked = [each for each in rehearsal.aws.asked() if each.method == "POST" and each.path.rstrip("/") == path]
    bodies = [json.loads(each.body) for each in asked]
    ours = [body for body in bodies if body["FunctionName"] == rehearsal.stage.function]
    count("requests to make the function", ours, 1)
    target: str | None = ours[0].get("DeadLetterConfig", {}).get("TargetArn")
    return target


def _queue_arn() -> str:
    return f"arn:aws:sqs:us-east-1:{ACCOUNT}:quoteapi-failures"


def _role(rehearsal: Rehearsal) -> None:
    iam, name = rehearsal.aws.client("iam"), f"{rehearsal.stage.function}-ZappaLambdaExecutionRole"
    role = iam.get_role(RoleName=name)["Role"]
    same("the function's role", rehearsal.configuration["Role"], role["Arn"])
    holds("who may take the role", json.dumps(role["AssumeRolePolicyDocument"]), "lambda.amazonaws.com")
    policy = iam.get_role_policy(RoleName=name, PolicyName="zappa-permissions")["PolicyDocument"]
    everywhere = [each["Action"] for each in policy["Statement"] if each["Resource"] == "*"]
    holds(
        "what the role allows for SMS to numbers", str(everywhere), "'sns:Publish'", "sns:CheckIfPhoneNumberIsOptedOut"
    )
    allowed = json.dumps(policy)
    wanted = ["lambda:InvokeFunction", "sns:*", "s3:*"]
    wanted += ["sqs:*"] if rehearsal.stage.has_dead_letters else []
    wanted += ["xray:PutTraceSegments"] if rehearsal.stage.is_traced else []
    wanted += ["ec2:CreateNetworkInterface"] if rehearsal.stage.is_in_vpc else []
    holds("what the role allows", allowed, *wanted)


def _rules(rehearsal: Rehearsal) -> None:
    arn, client = rehearsal.configuration["FunctionArn"], rehearsal.aws.client("events")
    endings = {
        rule["Name"]: next((end for end in SCHEDULES if rule["Name"].endswith(f"-{end}")), None)
        for rule in rehearsal.rules
    }
    found = {endings[rule["Name"]]: rule["ScheduleExpression"] for rule in rehearsal.rules}
    same("schedules", found, SCHEDULES)
    count("rules", rehearsal.rules, len(SCHEDULES))
    policy = rehearsal.aws.client("lambda").get_policy(FunctionName=rehearsal.stage.function)["Policy"]
    for rule in rehearsal.rules:
        targets = client.list_targets_by_rule(Rule=rule["Name"])["Targets"]
        same(f"targets of {rule['Name']}", [target["Arn"] for target in targets], [arn])
        same(f"state of {rule['Name']}", rule["State"], "ENABLED")
        holds("who may call the function", policy, "events.amazonaws.com", rule["Arn"])


def _api(rehearsal: Rehearsal) -> None:
    stage, client, api = rehearsal.stage, rehearsal.aws.client("apigateway"), rehearsal.api_id
    resources = {each["path"]: each for each in client.get_resources(restApiId=api, embed=["methods"])["items"]}
    same("paths", sorted(resources), ["/", "/{proxy+}"])
    for path, resource in resources.items():
        same(f"methods of {path}", list(resource["resourceMethods"]), ["ANY"])
        method = client.get_method(restApiId=api, resourceId=resource["id"], httpMethod="ANY")
        same(f"authorization of {path}", method["authorizationType"], stage.authorization)
        same(f"{path} needs a key", method["apiKeyRequired"], stage.needs_key)
        integration = method["methodIntegration"]
        same(f"integration of {path}", integration["type"], "AWS_PROXY")
        holds(f"integration of {path}", integration["uri"], rehearsal.configuration["FunctionArn"])
    patched = [each.body for each in rehearsal.aws.asked() if (each.method, each.path) == ("PATCH", f"/restapis/{api}")]
    holds("binary media types, which the emulator keeps no names of", str(patched), "/binaryMediaTypes/*~1*")
    same("stages", [each["stageName"] for each in client.get_stages(restApiId=api)["item"]], [stage.name])
    _authorizer(rehearsal)
    _key(rehearsal)


def _authorizer(rehearsal: Rehearsal) -> None:
    """Look at the authorizer in the template of the stack: the emulator does not make one of it."""
    templates = [each for each in rehearsal.aws.asked() if each.method == "PUT" and "-template-" in each.path]
    resources: dict[str, Any] = json.loads(templates[-1].body)["Resources"]
    has_one = rehearsal.stage.authorization == "CUSTOM"
    same("the template has an authorizer", "Authorizer" in resources, has_one)
    methods = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::ApiGateway::Method"]
    wanted = {"Ref": "Authorizer"} if has_one else None
    same("authorizer of each method", [each.get("AuthorizerId") for each in methods], [wanted] * 2)
    if has_one:
        made = resources["Authorizer"]["Properties"]
        holds("authorizer: function", made.pop("AuthorizerUri"), rehearsal.configuration["FunctionArn"])
        same("authorizer: role", made.pop("AuthorizerCredentials"), rehearsal.configuration["Role"])
        same("authorizer", made, AUTHORIZER)


def _key(rehearsal: Rehearsal) -> None:
    keys = rehearsal.aws.client("apigateway").get_api_keys()["items"]
    count("API keys", keys, 1 if rehearsal.stage.needs_key else 0)
    for key in keys:
        same("the key is for", key["stageKeys"], [f"{rehearsal.api_id}/{rehearsal.stage.name}"])
        same("the key works", key["enabled"], wanted=True)


def _domain(rehearsal: Rehearsal) -> None:
    client, route53 = rehearsal.aws.client("apigateway"), rehearsal.aws.client("route53")
    domain = client.get_domain_name(domainName=DOMAIN)
    same("certificate", domain["certificateArn"], rehearsal.project.of_stage(rehearsal.stage.name, "certificate_arn"))
    mappings = client.get_base_path_mappings(domainName=DOMAIN)["items"]
    same("the domain leads to", [(each["restApiId"], each["stage"]) for each in mappings], [(rehearsal.api_id, "prod")])
    zone = route53.list_hosted_zones_by_name(DNSName="example.org")["HostedZones"][0]["Id"]
    records = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    ours = [record for record in records if record["Name"] == f"{DOMAIN}."]
    count("records of the domain", ours, 1)
    same("record of the domain", ours[0]["ResourceRecords"], [{"Value": domain["distributionDomainName"]}])


def package(rehearsal: Rehearsal) -> None:
    """Look at what Lambda got, byte by byte."""
    files = [path for path in rehearsal.package.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    zipped = rehearsal.configuration["CodeSize"]
    extra_zipped, extra_unzipped = rehearsal.stage.brings_bytes
    if zipped > MOST_ZIPPED + extra_zipped or size > MOST_UNZIPPED + extra_unzipped:
        raise Wrong(f"the package has {zipped / 1e6:.1f} MB zipped and {size / 1e6:.1f} MB unzipped")
    names = {str(path.relative_to(rehearsal.package)) for path in files}
    holds("the package has", names, "handler.py", "zappa_settings.py", "quote_database.db", "quoteapi/app.py")
    lacks("the package has", names, *BESIDE)
    unwanted = ("moto", "pytest", "pip", "setuptools", "click", "granian", "gunicorn", "tests", "docs")
    lacks("the package has", {name.partition("/")[0] for name in names}, *unwanted)
    _has_no(files, CANARY, *rehearsal.secrets)


def _has_no(files: list[Path], *secrets: str) -> None:
    secret = [each.encode() for each in secrets]
    if telling := [path.name for path in files if any(each in path.read_bytes() for each in secret)]:
        raise Wrong(f"the package has secrets in {telling}")
