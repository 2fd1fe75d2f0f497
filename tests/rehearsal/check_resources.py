"""The steps that check the AWS resources that Zappa made and the package that it uploaded."""

import json
from pathlib import Path
from typing import Any

from tests.rehearsal.aws import ACCOUNT, DOMAIN, REGION
from tests.rehearsal.checks import CheckFailed, check_contains, check_count, check_equal, check_excludes
from tests.rehearsal.permissions import check_role_policy, role_name
from tests.rehearsal.project import CANARY, UNWANTED_FILES
from tests.rehearsal.rehearsal import Rehearsal
from tests.rehearsal.stages import SCHEDULES

MAX_ZIPPED_BYTES, MAX_UNZIPPED_BYTES = 12_000_000, 35_000_000
"""The largest package that still starts fast; Lambda itself allows 50 and 250 million bytes."""
EXPECTED_AUTHORIZER = {
    "Type": "TOKEN",
    "Name": "ZappaAuthorizer",
    "RestApiId": {"Ref": "Api"},
    "IdentitySource": "method.request.header.Authorization",
    "IdentityValidationExpression": "^Bearer [-0-9A-Za-z._]+$",
    "AuthorizerResultTtlInSeconds": 300,
}


def resources(rehearsal: Rehearsal) -> None:
    """Check every AWS resource of the stage."""
    _check_function(rehearsal)
    _check_role(rehearsal)
    _check_rules(rehearsal)
    _check_api(rehearsal)
    if rehearsal.stage.has_domain:
        _check_domain(rehearsal)


def _check_function(rehearsal: Rehearsal) -> None:
    stage, found, setting = rehearsal.stage, rehearsal.configuration, rehearsal.project.stage_setting
    check_equal("runtime", found["Runtime"], setting(stage.name, "runtime"))
    check_equal("handler", found["Handler"], "handler.lambda_handler")
    check_equal("memory", found["MemorySize"], 512)
    check_equal("timeout", found["Timeout"], 60)
    check_equal("variables", found["Environment"]["Variables"], {"INSTANTIATE_LAMBDA_HANDLER_ON_IMPORT": "true"})
    check_equal("tracing", found["TracingConfig"]["Mode"], "Active" if stage.is_traced else "PassThrough")
    expected = setting(stage.name, "vpc_config") or {}
    for name in ("SubnetIds", "SecurityGroupIds"):
        check_equal(
            f"network: {name}", sorted((found.get("VpcConfig") or {}).get(name, [])), sorted(expected.get(name, []))
        )
    check_equal("is in a network", bool(expected), stage.is_in_vpc)
    check_equal("dead letters go to", dead_letter_target(rehearsal), f"arn:aws:sqs:{REGION}:{ACCOUNT}:{stage.queue}")


def dead_letter_target(rehearsal: Rehearsal) -> str | None:
    """Return the ARN of the function's dead-letter queue.

    The emulator does not keep it, so it is read from the request that created the function.
    """
    path = "/2015-03-31/functions"
    created = [each for each in rehearsal.aws.requests() if each.method == "POST" and each.path.rstrip("/") == path]
    bodies = [json.loads(each.body) for each in created]
    ours = [body for body in bodies if body["FunctionName"] == rehearsal.stage.function]
    check_count("requests that create the function", ours, 1)
    target: str | None = ours[0].get("DeadLetterConfig", {}).get("TargetArn")
    return target


def _check_role(rehearsal: Rehearsal) -> None:
    role = rehearsal.aws.client("iam").get_role(RoleName=role_name(rehearsal))["Role"]
    check_equal("the function's role", rehearsal.configuration["Role"], role["Arn"])
    check_contains("trust policy of the role", json.dumps(role["AssumeRolePolicyDocument"]), "lambda.amazonaws.com")
    check_role_policy(rehearsal)


def _check_rules(rehearsal: Rehearsal) -> None:
    arn, client = rehearsal.configuration["FunctionArn"], rehearsal.aws.client("events")
    endings = {
        rule["Name"]: next((end for end in SCHEDULES if rule["Name"].endswith(f"-{end}")), None)
        for rule in rehearsal.rules
    }
    found = {endings[rule["Name"]]: rule["ScheduleExpression"] for rule in rehearsal.rules}
    check_equal("schedules", found, SCHEDULES)
    check_count("rules", rehearsal.rules, len(SCHEDULES))
    policy = rehearsal.aws.client("lambda").get_policy(FunctionName=rehearsal.stage.function)["Policy"]
    for rule in rehearsal.rules:
        targets = client.list_targets_by_rule(Rule=rule["Name"])["Targets"]
        check_equal(f"targets of {rule['Name']}", [target["Arn"] for target in targets], [arn])
        check_equal(f"state of {rule['Name']}", rule["State"], "ENABLED")
        check_contains("policy of the function", policy, "events.amazonaws.com", rule["Arn"])


def _check_api(rehearsal: Rehearsal) -> None:
    stage, client, api = rehearsal.stage, rehearsal.aws.client("apigateway"), rehearsal.api_id
    resources = {each["path"]: each for each in client.get_resources(restApiId=api, embed=["methods"])["items"]}
    check_equal("paths", sorted(resources), ["/", "/{proxy+}"])
    for path, resource in resources.items():
        check_equal(f"methods of {path}", list(resource["resourceMethods"]), ["ANY"])
        method = client.get_method(restApiId=api, resourceId=resource["id"], httpMethod="ANY")
        check_equal(f"authorization of {path}", method["authorizationType"], stage.authorization)
        check_equal(f"{path} requires an API key", method["apiKeyRequired"], stage.needs_key)
        integration = method["methodIntegration"]
        check_equal(f"integration of {path}", integration["type"], "AWS_PROXY")
        check_contains(f"integration of {path}", integration["uri"], rehearsal.configuration["FunctionArn"])
    patches = [
        each.body for each in rehearsal.aws.requests() if (each.method, each.path) == ("PATCH", f"/restapis/{api}")
    ]
    check_contains(
        "binary media types, read from the request because the emulator does not keep them",
        str(patches),
        "/binaryMediaTypes/*~1*",
    )
    check_equal("stages", [each["stageName"] for each in client.get_stages(restApiId=api)["item"]], [stage.name])
    _check_authorizer(rehearsal)
    _check_api_key(rehearsal)


def _check_authorizer(rehearsal: Rehearsal) -> None:
    """Check the authorizer in the template of the stack; the emulator does not create it."""
    templates = [each for each in rehearsal.aws.requests() if each.method == "PUT" and "-template-" in each.path]
    template: dict[str, Any] = json.loads(templates[-1].body)["Resources"]
    has_authorizer = rehearsal.stage.authorization == "CUSTOM"
    check_equal("the template has an authorizer", "Authorizer" in template, has_authorizer)
    methods = [each["Properties"] for each in template.values() if each["Type"] == "AWS::ApiGateway::Method"]
    expected = {"Ref": "Authorizer"} if has_authorizer else None
    check_equal("authorizer of each method", [each.get("AuthorizerId") for each in methods], [expected] * 2)
    if has_authorizer:
        properties = template["Authorizer"]["Properties"]
        check_contains("authorizer: function", properties.pop("AuthorizerUri"), rehearsal.configuration["FunctionArn"])
        check_equal("authorizer: role", properties.pop("AuthorizerCredentials"), rehearsal.configuration["Role"])
        check_equal("authorizer", properties, EXPECTED_AUTHORIZER)


def _check_api_key(rehearsal: Rehearsal) -> None:
    keys = rehearsal.aws.client("apigateway").get_api_keys()["items"]
    check_count("API keys", keys, 1 if rehearsal.stage.needs_key else 0)
    for key in keys:
        check_equal("stages of the API key", key["stageKeys"], [f"{rehearsal.api_id}/{rehearsal.stage.name}"])
        check_equal("the API key is enabled", key["enabled"], expected=True)


def _check_domain(rehearsal: Rehearsal) -> None:
    client, route53 = rehearsal.aws.client("apigateway"), rehearsal.aws.client("route53")
    domain = client.get_domain_name(domainName=DOMAIN)
    check_equal(
        "certificate",
        domain["certificateArn"],
        rehearsal.project.stage_setting(rehearsal.stage.name, "certificate_arn"),
    )
    mappings = client.get_base_path_mappings(domainName=DOMAIN)["items"]
    check_equal(
        "API and stage of the domain",
        [(each["restApiId"], each["stage"]) for each in mappings],
        [(rehearsal.api_id, "prod")],
    )
    zone = route53.list_hosted_zones_by_name(DNSName="example.org")["HostedZones"][0]["Id"]
    records = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    found = [record for record in records if record["Name"] == f"{DOMAIN}."]
    check_count("records of the domain", found, 1)
    check_equal("record of the domain", found[0]["ResourceRecords"], [{"Value": domain["distributionDomainName"]}])


def package(rehearsal: Rehearsal) -> None:
    """Check the size and the files of the package."""
    files = [path for path in rehearsal.package.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    zipped = rehearsal.configuration["CodeSize"]
    extra_zipped, extra_unzipped = rehearsal.stage.extra_bytes
    if zipped > MAX_ZIPPED_BYTES + extra_zipped or size > MAX_UNZIPPED_BYTES + extra_unzipped:
        raise CheckFailed(f"the package has {zipped / 1e6:.1f} MB zipped and {size / 1e6:.1f} MB unzipped")
    names = {str(path.relative_to(rehearsal.package)) for path in files}
    check_contains("the package has", names, "handler.py", "zappa_settings.py", "quote_database.db", "quoteapi/app.py")
    check_excludes("the package has", names, *UNWANTED_FILES)
    unwanted = ("moto", "pytest", "pip", "setuptools", "click", "granian", "gunicorn", "tests", "docs")
    check_excludes("the package has", {name.partition("/")[0] for name in names}, *unwanted)
    _check_no_secrets(files, CANARY, *rehearsal.secrets)


def _check_no_secrets(files: list[Path], *secrets: str) -> None:
    encoded = [each.encode() for each in secrets]
    if leaks := [path.name for path in files if any(each in path.read_bytes() for each in encoded)]:
        raise CheckFailed(f"the package has secrets in {leaks}")
