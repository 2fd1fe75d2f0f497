from collections.abc import Iterator
from pathlib import Path

import pytest

from quoteapi.deploy.aws_resources.lambda_function import is_deployed
from quoteapi.deploy.setup_result import SetupResult
from quoteapi.deploy.teardown.leftover import Leftover
from quoteapi.deploy.teardown.stage_teardown import SUBSCRIBERS_STAY
from quoteapi.deploy.zappa_settings import read_local_stages
from tests.deploy.aws import ADDRESS, emulate_account, failing_calls, record_calls, writing_calls
from tests.deploy.operator_project import ANSWERS, BUCKET, DOMAIN, LOCATION, ROLE, TOPIC, Nobody, Project
from tests.helpers.data import SECRET_KEY


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with emulate_account() as account:
        yield Project(tmp_path, account)


def kinds(leftovers: list[Leftover]) -> dict[str, str]:
    """Return the kinds of leftovers, each with why it is kept."""
    return {each.kind: each.kept for each in leftovers}


def states(results: list[SetupResult]) -> dict[str, str]:
    return {result.name: result.state for result in results}


def test_setting_up_again_changes_nothing(project: Project) -> None:
    project.set_up()
    calls = record_calls()
    results = project.set_up()
    waiting = [result.name for result in results if result.state == "waiting"]
    assert ({result.state for result in results}, waiting) == ({"ok", "waiting"}, ["mail"])
    assert writing_calls(calls) == []


def test_the_address_on_the_topic_is_the_default_of_the_question(project: Project) -> None:
    assert project.stage().current_answers().email is None
    project.set_up()
    assert project.stage().current_answers().email == ADDRESS


def test_the_topic_of_failures_is_in_the_region_of_sms(project: Project) -> None:
    project.stage().save_local({"environment_variables": {"SNS_REGION": "ap-south-1"}})
    results = list(project.stage().run(ANSWERS, Nobody()))
    assert (states(results)["mail"], states(results)["error alarm"]) == ("waiting", "skipped")
    assert (project.topics(), len(project.account.client("sns", "ap-south-1").list_topics()["Topics"])) == ([], 1)


def test_everything_of_a_stage_is_deleted(project: Project) -> None:
    project.serve_subscribers()
    project.serve_domain()
    project.serve_keys()
    project.create_role()
    found = project.find()
    assert found.failures == []
    assert [each.kept for each in found.leftovers] == [""] * len(found.leftovers)
    listed = [(each.kind, each.contents, each.cost) for each in found.leftovers]
    assert listed == [
        ("error alarm", "sends mail", "up to $0.10"),
        ("queue alarm", "sends mail", "up to $0.10"),
        ("usage plan", "2 API keys", "nothing"),
        ("DNS record", "in example.org", "nothing"),
        ("domain name", "in API Gateway", "nothing"),
        ("certificate", "pending validation", "nothing"),
        ("hosted zone", "no other records", "about $0.50"),
        ("log group", "empty", "nothing"),
        ("dead letters", "0 messages", "nothing"),
        ("role", "with its policies", "nothing"),
        ("mail", ADDRESS, "nothing"),
        ("budget", "$5 a month", "nothing"),
        ("topics", "2 topics with 2 subscriptions", "nothing"),
        ("table", "12 subscribers", "nothing"),
        ("remote env", listed[14][1], "under $0.01"),
        ("bucket", "no other files", "nothing"),
        ("local settings", listed[16][1], "nothing"),
    ]
    results = list(found.delete())
    assert {result.state for result in results} == {"done"}
    assert "AWS keeps a backup for 35 days" in next(result.found for result in results if result.name == "table")
    assert (project.tables(), project.topics(), project.buckets(), project.alarms()) == ([], [], [], [])
    assert (project.log_groups(), project.queues(), project.budgets()) == ([], [], [])
    assert (project.zones(), project.certificates(), project.domain_names()) == ([], [], [])
    assert project.account.client("iam").list_roles()["Roles"] == []
    assert read_local_stages(project.path) == {}
    api_gateway = project.account.client("apigateway")
    assert [plan["name"] for plan in api_gateway.get_usage_plans()["items"]] == ["mine"]
    assert [key["name"] for key in api_gateway.get_api_keys()["items"]] == ["zola"], "in another plan too"
    assert project.find().leftovers == []


def test_looking_up_changes_nothing(project: Project) -> None:
    project.serve_subscribers()
    project.serve_domain()
    calls = record_calls()
    project.find()
    assert writing_calls(calls) == []


def test_a_function_that_is_deployed_is_seen(project: Project) -> None:
    assert not is_deployed(project.stage().names)
    project.deploy_function()
    assert is_deployed(project.stage().names)


# ---- subscribers


def test_subscribers_stay_with_all_that_a_new_deploy_needs_to_continue(project: Project) -> None:
    project.serve_subscribers()
    found = project.find()
    assert found.table is not None
    found.keep_subscribers()
    stay = {kind for kind, kept in kinds(found.leftovers).items() if kept == SUBSCRIBERS_STAY}
    assert stay == {"topics", "table", "remote env", "bucket", "local settings"}
    assert {result.state for result in found.delete()} == {"done"}
    assert (project.tables(), project.buckets(), project.alarms()) == (["quoteapi-dev"], [BUCKET], [])
    assert project.topics() == [TOPIC, f"{TOPIC}-Asia-Kolkata"]
    again = project.find()
    assert set(kinds(again.leftovers)) == stay
    assert {result.state for result in again.delete()} == {"done"}
    assert (project.tables(), project.topics(), project.buckets()) == ([], [], [])


def test_the_topics_of_a_stage_with_a_longer_name_stay(project: Project) -> None:
    project.serve_subscribers()
    project.serve_subscribers("dev_key")
    list(project.find().delete())
    assert project.tables() == ["quoteapi-dev-key"]
    assert project.topics() == [f"{TOPIC}-key", f"{TOPIC}-key-Asia-Kolkata", "UnhandledException"]


def test_topics_without_a_table_are_deleted(project: Project) -> None:
    project.set_up()
    project.account.client("sns").create_topic(Name=f"{TOPIC}-Asia-Kolkata")
    found = project.find()
    assert (kinds(found.leftovers)["topics"], found.table) == ("", None)
    list(found.delete())
    assert project.topics() == []


def test_a_table_is_found_without_the_remote_environment(project: Project) -> None:
    project.serve_subscribers()
    project.account.client("s3").delete_object(Bucket=BUCKET, Key="quoteapi-dev.json")
    assert {"table", "topics"} <= set(kinds(project.find().leftovers))


def test_a_table_and_topics_that_two_stages_share_stay(project: Project) -> None:
    project.serve_subscribers()
    url = "dynamodb://quoteapi-dev"
    project.set_up("prod", SECRET_KEY=SECRET_KEY, SMS_ALLOWED_REGIONS="IN", DATABASE_URL=url)
    found = project.find()
    assert (kinds(found.leftovers)["table"], kinds(found.leftovers)["topics"]) == ("prod uses it", "prod uses it")
    assert found.table is None


def test_a_stage_whose_settings_cannot_be_read_may_share_anything(project: Project) -> None:
    project.serve_subscribers()
    project.set_up("prod", SNS_REGION="nowhere")
    assert kinds(project.find().leftovers)["table"] == "prod uses it"


def test_postgresql_and_the_topics_of_its_subscribers_stay(project: Project) -> None:
    url = "postgresql://me:secret@db.example.org/quoteapi"
    project.set_up(SECRET_KEY=SECRET_KEY, SMS_ALLOWED_REGIONS="IN", DATABASE_URL=url)
    project.account.client("sns").create_topic(Name="DailyQuoteSubscription")
    found = {each.kind: each for each in project.find().leftovers}
    assert found["database"].kept == "PostgreSQL is never touched"
    assert found["database"].name == "postgresql://db.example.org/quoteapi"
    assert found["topics"].kept == "the subscribers in PostgreSQL are on them"
    list(project.find().delete())
    assert project.topics() == ["DailyQuoteSubscription"]


# ---- what other stages use


def test_what_two_stages_share_stays_until_the_second_one_is_torn_down(project: Project) -> None:
    project.set_up()
    project.set_up("prod")
    first = project.find()
    kept = {kind: reason for kind, reason in kinds(first.leftovers).items() if reason}
    assert kept == dict.fromkeys(("mail", "budget", "bucket"), "prod uses it")
    assert {result.state for result in first.delete()} == {"done"}
    assert (project.buckets(), project.topics(), project.budgets()) == ([BUCKET], ["UnhandledException"], ["quoteapi"])
    assert (list(read_local_stages(project.path)), project.queues()) == (["prod"], ["quoteapi-prod-failures"])
    list(project.find("prod").delete())
    assert (project.buckets(), project.topics(), project.budgets()) == ([], [], [])


def test_a_bucket_with_other_files_stays(project: Project) -> None:
    project.set_up()
    project.account.client("s3").put_object(Bucket=BUCKET, Key="photo.jpg", Body=b"x")
    found = project.find()
    assert kinds(found.leftovers)["bucket"] == "it has 1 other file"
    list(found.delete())
    assert project.account.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"][0]["Key"] == "photo.jpg"


def test_a_bucket_of_the_operator_stays(project: Project) -> None:
    project.stage().save_local({"s3_bucket": "photos"})
    project.account.client("s3").create_bucket(Bucket="photos", CreateBucketConfiguration=LOCATION)
    project.set_up()
    found = project.find()
    assert kinds(found.leftovers)["bucket"] == "it is yours"
    list(found.delete())
    assert project.buckets() == ["photos"]


def test_what_the_stages_of_another_operator_share_stays(project: Project) -> None:
    project.set_up()
    project.set_up("prod")
    project.stage("prod").save_local(dict.fromkeys(read_local_stages(project.path)["prod"]))  # in another checkout
    found = project.find()
    kept = {kind: reason for kind, reason in kinds(found.leftovers).items() if reason}
    used = "quoteapi-prod.json uses it"
    assert kept == {"mail": used, "budget": used, "bucket": "it has 1 other file"}


def test_a_usage_plan_of_other_apis_stays(project: Project) -> None:
    project.set_up()
    project.serve_keys()
    client = project.account.client("apigateway")
    api = client.create_rest_api(name="photos")["id"]
    (plan,) = [plan["id"] for plan in client.get_usage_plans()["items"] if plan["name"] == "quoteapi-dev"]
    stage = {"op": "add", "path": "/apiStages", "value": f"{api}:live"}
    client.update_usage_plan(usagePlanId=plan, patchOperations=[stage])
    assert kinds(project.find().leftovers)["usage plan"] == "it is also for 1 API"


def test_a_queue_that_another_stage_names_stays(project: Project) -> None:
    project.set_up()
    project.stage("prod").save_local({"dead_letter_arn": project.stage().names.queue_arn})
    assert kinds(project.find().leftovers)["dead letters"] == "prod uses it"


def test_a_role_of_the_operator_is_not_listed(project: Project) -> None:
    project.set_up()
    project.create_role()
    project.stage().save_local({"role_name": ROLE})
    assert "role" not in kinds(project.find().leftovers)


# ---- the domain


def test_a_zone_with_other_records_stays_with_its_price(project: Project) -> None:
    project.set_up()
    project.add_record(project.serve_domain(), "www.example.org", "elsewhere.example.net")
    found = project.find()
    (zone,) = [each for each in found.leftovers if each.kind == "hosted zone"]
    assert (zone.kept, zone.cost) == ("it has 1 other record", "about $0.50")
    list(found.delete())
    assert (project.zones(), project.certificates(), project.domain_names()) == (["example.org."], [], [])


def test_a_zone_of_the_operator_stays(project: Project) -> None:
    project.set_up()
    zone = project.serve_domain()
    project.account.client("route53").update_hosted_zone_comment(
        Id=zone, Comment="HostedZone created by Route53 Registrar"
    )
    assert kinds(project.find().leftovers)["hosted zone"] == "`quoteapi setup` did not create it"


def test_the_validation_of_another_domain_keeps_the_zone(project: Project) -> None:
    project.set_up()
    project.add_record(project.serve_domain(), "_e5f6.www.example.org", "_g7h8.acm-validations.aws.")
    assert kinds(project.find().leftovers)["hosted zone"] == "it has 1 other record"


def test_a_domain_that_leads_elsewhere_by_now_stays(project: Project) -> None:
    project.set_up()
    project.change_record("UPSERT", project.serve_domain(), DOMAIN, "elsewhere.example.net")
    found = kinds(project.find().leftovers)
    assert ("DNS record" in found, found["hosted zone"]) == (False, "it has 1 other record")


def test_a_record_that_leads_to_another_service_of_aws_stays(project: Project) -> None:
    project.set_up()
    zone = project.serve_domain()
    project.change_record("UPSERT", zone, DOMAIN, "photos-1234.us-east-1.elb.amazonaws.com")
    found = kinds(project.find().leftovers)
    assert ("DNS record" in found, found["hosted zone"]) == (False, "it has 1 other record")


def test_a_domain_with_which_other_apis_answer_stays(project: Project) -> None:
    project.set_up()
    project.serve_domain()
    client = project.account.client("apigateway")
    api = client.create_rest_api(name="photos")["id"]
    resource = client.get_resources(restApiId=api)["items"][0]["id"]
    client.put_method(restApiId=api, resourceId=resource, httpMethod="GET", authorizationType="NONE")
    client.put_integration(restApiId=api, resourceId=resource, httpMethod="GET", type="MOCK")
    client.create_deployment(restApiId=api, stageName="live")
    client.create_base_path_mapping(domainName=DOMAIN, basePath="photos", restApiId=api, stage="live")
    found = kinds(project.find().leftovers)
    kept = {found[kind] for kind in ("DNS record", "domain name", "certificate", "hosted zone")}
    assert kept == {"1 API still answers there"}


def test_an_alias_for_the_mail_of_the_domain_keeps_the_zone(project: Project) -> None:
    project.set_up()
    project.add_record(project.serve_domain(), f"_dmarc.{DOMAIN}", "reports.example.net.")
    assert kinds(project.find().leftovers)["hosted zone"] == "it has 1 other record"


def test_a_certificate_of_other_domains_stays(project: Project) -> None:
    project.set_up()
    project.serve_domain()
    acm = project.account.client("acm", "us-east-1")
    wildcard = acm.request_certificate(DomainName="example.org", SubjectAlternativeNames=["*.example.org"])
    project.stage().save_local({"certificate_arn": wildcard["CertificateArn"]})
    assert kinds(project.find().leftovers)["certificate"] == "it is also for *.example.org, example.org"


def test_a_domain_of_two_stages_stays(project: Project) -> None:
    project.set_up()
    project.serve_domain()
    project.stage("prod").save_local({"domain": DOMAIN})
    found = kinds(project.find().leftovers)
    assert {found[kind] for kind in ("DNS record", "domain name", "certificate", "hosted zone")} == {"prod uses it"}


# ---- failures


def test_a_failing_deletion_does_not_stop_the_others_and_keeps_the_settings_for_the_next_run(project: Project) -> None:
    project.set_up()
    project.serve_domain()
    with failing_calls("acm.DeleteCertificate", "ResourceInUseException", "It is in use."):
        results = list(project.find().delete())
    (failed,) = [result for result in results if result.state == "failed"]
    assert failed.name == "certificate"
    assert failed.found == f"{DOMAIN}: DeleteCertificate failed: ResourceInUseException It is in use."
    assert failed.to_do.startswith("API Gateway releases it within an hour")
    assert {name for name, state in states(results).items() if state == "skipped"} == {
        "remote env",
        "bucket",
        "local settings",
    }
    assert (project.zones(), project.queues(), project.certificates()) == ([], [], [DOMAIN])
    assert set(kinds(project.find().leftovers)) == {"certificate", "remote env", "bucket", "local settings"}
    assert {result.state for result in project.find().delete()} == {"done"}
    assert (project.certificates(), project.buckets(), read_local_stages(project.path)) == ([], [], {})


def test_what_cannot_be_looked_up_is_reported_and_keeps_the_settings(project: Project) -> None:
    project.set_up()
    with failing_calls("sqs.GetQueueUrl", "AccessDenied"):
        found = project.find()
    assert [(each.name, each.state, each.found) for each in found.failures] == [
        ("dead letters", "failed", "you have no permission for GetQueueUrl")
    ]
    results = list(found.delete())
    assert {name for name, state in states(results).items() if state == "skipped"} == {
        "remote env",
        "bucket",
        "local settings",
    }
    assert project.alarms() == []


def test_budgets_that_the_operator_may_not_see_are_none_of_the_stage(project: Project) -> None:
    project.set_up()
    with failing_calls("budgets.DescribeBudget", "AccessDeniedException"):
        found = project.find()
    assert (found.failures, "budget" in kinds(found.leftovers)) == ([], False)


def test_a_run_after_the_bucket_is_gone_finishes(project: Project) -> None:
    project.set_up()
    s3 = project.account.client("s3")
    s3.delete_object(Bucket=BUCKET, Key="quoteapi-dev.json")
    s3.delete_bucket(Bucket=BUCKET)
    assert {result.state for result in project.find().delete()} == {"done"}
    assert read_local_stages(project.path) == {}
