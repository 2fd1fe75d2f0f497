"""The keys of `zappa_settings.json` that Zappa 0.63 reads. It ignores all others without a warning."""

from collections.abc import Iterable, Iterator

from quoteapi.deploy.checks.check import Check
from quoteapi.deploy.zappa_settings import Stage, get_nested_object, list_events
from quoteapi.spelling import did_you_mean

_KEYS = {
    "stage": """
        additional_text_mimetypes alb_enabled alb_vpc_config api_key api_key_required apigateway_description
        apigateway_enabled apigateway_lambda_qualifier apigateway_policy apigateway_version app_function app_type
        architecture assume_policy async_resources async_response_table async_response_table_read_capacity
        async_response_table_write_capacity async_source attach_policy authorizer aws_endpoint_urls
        aws_environment_variables aws_kms_key_arn aws_region base_path binary_support bot_events cache_cluster_enabled
        cache_cluster_encrypted cache_cluster_size cache_cluster_ttl callbacks certificate certificate_arn
        certificate_chain certificate_key cloudwatch_data_trace cloudwatch_log_level cloudwatch_metrics_enabled cognito
        context_header_mappings cors dead_letter_arn debug delete_local_zip delete_s3_zip delete_zip django_settings
        domain efs_config endpoint_configuration environment_variables ephemeral_storage events exception_handler
        exclude exclude_glob extends extra_permissions function_url_cloudfront_config function_url_config
        function_url_domains function_url_enabled iam_authorization include keep_warm keep_warm_expression
        lambda_concurrency lambda_description lambda_handler layers lets_encrypt_key log_level manage_roles memory_size
        num_retained_versions payload_compression payload_minimum_compression_size prebuild_script profile_name
        project_name provisioned_concurrency remote_env remote_env_bucket remote_env_file role_arn role_name
        route53_enabled runtime s3_bucket settings_file slim_handler snap_start tags timeout_seconds touch touch_path
        use_apigateway use_precompiled_packages vpc_config websocket_handler_module xray_tracing
    """,
    "authorizer": "arn function name provider_arns result_ttl token_header type validation_expression",
    "callbacks": "post settings zip",
    "event": "description enabled event_source expression expressions function kwargs name",
    "event_source": """
        arn batch_size batch_window description enabled event_pattern events filters name pattern prefix
        rule_description rule_name schedule schedule_expression suffix
    """,
    "vpc_config": "Ipv6AllowedForDualStack SecurityGroupIds SubnetIds",  # Zappa passes these on to boto3
}
ZAPPA_KEYS = {kind: frozenset(names.split()) for kind, names in _KEYS.items()}
"""Keys by the object that has them; "stage" is the stage itself. A test compares them with the installed Zappa."""


def check_keys(stage: Stage) -> Iterator[Check]:
    """Yield a problem for each unknown key, in a stage and in its nested objects."""
    yield from _check_object("", stage, "stage")
    for key in ("authorizer", "callbacks", "vpc_config"):
        yield from _check_object(f"{key}.", get_nested_object(stage, key), key)
    for number, event in enumerate(list_events(stage)):
        yield from _check_object(f"events[{number}].", event, "event")
        source = get_nested_object(event, "event_source")
        yield from _check_object(f"events[{number}].event_source.", source, "event_source")


def _check_object(path: str, keys: Iterable[str], kind: str) -> Iterator[Check]:
    for key in keys:
        if key not in ZAPPA_KEYS[kind]:
            to_do = did_you_mean(key, ZAPPA_KEYS[kind]) or "Remove it: Zappa ignores it."
            yield Check("key", "wrong", f"{path}{key} is not a key that Zappa knows", to_do)
