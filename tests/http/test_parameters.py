import time
from collections.abc import Iterator
from datetime import date

import falcon
import pytest
import requests

from quoteapi.http.parameters import MAX_CHECKED_NAMES, parse_date, parse_id, reject_misspelt_names
from tests.conftest import Serve
from tests.helpers.data import sqlite_only
from tests.helpers.http import assert_problem, get
from tests.http.test_openapi import PATHS

DOCUMENTED = {
    path: [parameter["name"] for parameter in item["get"].get("parameters", []) if parameter["in"] == "query"]
    for path, item in PATHS.items()
}
PARAMETERS = {path: names for path, names in DOCUMENTED.items() if names}
"""The query parameters of each address, as `openapi.json` has them."""
WITHOUT_PARAMETERS = [
    "/another",
    "/feed.xml",
    "/feed.json",
    "/daily.svg",
    "/quotes/1",
    "/days/2026-11-01",
    "/health",
    "/docs",
]
ADDED_BY_OTHERS = """
    utm_source utm_medium utm_campaign utm_term utm_content utm_id utm_name utm_referrer utm_source_platform
    fbclid gclid gclsrc gbraid wbraid dclid msclkid yclid ysclid twclid ttclid li_fat_id igshid igsh epik rdt_cid sccid
    mc_cid mc_eid mkt_tok _ga _gl _hsenc _hsmi _ke _kx __hssc __hstc __hsfp vero_id wickedid oly_anon_id oly_enc_id
    rb_clickid irclickid irgwc clickid click_id aff_id affiliate spm scm trk trkInfo xtor s_kwcid ef_id adgroupid adid
    ad_id campaign_id creative keyword matchtype network placement gad_source gad_campaignid pk_campaign pk_kwd
    mtm_source mtm_campaign matomo_campaign piwik_campaign at_medium at_campaign guccounter ncid cmpid cid sid uid pid
    ref ref_src referrer referer source src from via origin campaign share share_id si s t v x y z w n p d e f g h _ __
    cb cachebust cache_buster cache bust nocache no_cache rand random rnd nonce ts _ts _t _v time timestamp now version
    ver rev build hash callback jsonp format output fmt pretty indent page per_page offset lang locale hl gl country
    region theme color mode view debug test preview amp embed print download feature app platform device client
    api_key apikey key token access_token state session sessionid PHPSESSID jsessionid sort order fields include id
"""
"""Parameters that trackers add to links, and that clients add against caches or send to every service."""


def misspellings(name: str) -> Iterator[str]:
    """Yield a name with a letter missing, doubled or another one, with two letters swapped, and in other styles."""
    for place, letter in enumerate(name):
        before, after = name[:place], name[place + 1 :]
        yield before + after
        yield before + letter + letter + after
        yield before + after[:1] + letter + after[1:]
        if len(name) > len("otp"):
            yield before + "x" + after
    plural = name.removesuffix("y") + ("ies" if name.endswith("y") else "s")
    yield from (plural, name.capitalize(), name.upper(), f"{name}[]", f" {name}", f"amp;{name}")
    yield from (name.replace("_", separator) for separator in "-. ")
    head, *tail = name.split("_")
    yield head + "".join(map(str.capitalize, tail))


@pytest.mark.parametrize("path", PARAMETERS)
def test_a_near_miss_of_a_parameter_is_recognized(path: str) -> None:
    known = PARAMETERS[path]
    for name in known:
        reject_misspelt_names([name], known)
        other_styles = {name.upper(), f"amp;{name}", f"{name}[]"}
        for wrong in {*misspellings(name)} - {*known} if len(name) > len("tz") else other_styles:
            with pytest.raises(falcon.HTTPBadRequest) as error_info:
                reject_misspelt_names([*known, "utm_source", wrong], known)
            description = f"There is no parameter {wrong} here. Did you mean {name}?"
            assert (error_info.value.title, error_info.value.description) == ("Unknown parameter", description)


@pytest.mark.parametrize("path", PARAMETERS)
def test_parameters_that_trackers_and_clients_add_are_no_near_misses(path: str) -> None:
    assert len(ADDED_BY_OTHERS.split()) > 150
    for style in (str.lower, str.upper, "amp;{}".format):
        for name in ADDED_BY_OTHERS.split():
            reject_misspelt_names([style(name)], PARAMETERS[path])


@sqlite_only
@pytest.mark.parametrize("path", PARAMETERS)
@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_every_address_rejects_near_misses_and_ignores_other_names(serve: Serve, path: str, accept: str) -> None:
    base = serve()
    assert len(PARAMETERS) == 10
    for name in PARAMETERS[path]:
        wrong = f"{name.upper()}" if len(name) < 3 else f"{name}{name[-1]}"
        response = get(f"{base}{path}?{wrong}=1&utm_source=x", Accept=accept)
        assert response.status_code == 400
        assert f"Did you mean {name}?" in response.text
    fine = get(f"{base}{path}?utm_source=x&fbclid=y&gclid=z&v=1&_=2", Accept=accept)
    assert fine.status_code == 200 or "Invalid mobile" in fine.text


@sqlite_only
def test_other_addresses_and_methods_ignore_every_name(serve: Serve) -> None:
    base = serve(CORS_ORIGINS="*")
    for path in WITHOUT_PARAMETERS:
        assert get(f"{base}{path}?categry=wit&Date=1").status_code == 200, path
    preflight = {"Origin": "https://example.org", "Access-Control-Request-Method": "GET"}
    assert requests.options(f"{base}/quotes?categry=wit", headers=preflight, timeout=30).status_code == 200
    assert requests.head(f"{base}/quotes?categry=wit", timeout=30).status_code == 400
    assert_problem(get(f"{base}/nothing?categry=wit"), 404, "Not found")


@sqlite_only
@pytest.mark.parametrize(
    "query", ["categry", "categry=", "categry=wit&category=wit", "c%61tegry=wit", "q=hope&amp;category=wit"]
)
def test_a_near_miss_is_rejected_however_it_is_written(serve: Serve, query: str) -> None:
    assert_problem(get(f"{serve()}/quotes?{query}"), 400, "Unknown parameter", "Did you mean category?")


@sqlite_only
@pytest.mark.parametrize(
    ("address", "meant"),
    [("/quotes?search=hope", "q"), ("/quotes?amp;Query=hope", "q"), ("/random?min_length=9", "max_length")],
)
def test_a_parameter_of_another_service_or_address_is_rejected_if_it_is_like_one(
    serve: Serve, address: str, meant: str
) -> None:
    base = serve()
    assert_problem(get(f"{base}{address}"), 400, "Unknown parameter", f"Did you mean {meant}?")
    assert get(f"{base}/random?code=1&phone=2&q=3&search=4&cursor=5").status_code == 200


@sqlite_only
@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("path", ["/subscribe", "/unsubscribe", "/pause"])
@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({"moblie": "+919028000001"}, "mobile"),
        ({"Mobile": "+919028000001"}, "mobile"),
        ({"phone": "+919028000001"}, "mobile"),
        ({"number": "+919028000001"}, "mobile"),
        ({"phoneNumber": "+919028000001"}, "mobile"),
        ({"mobile": "+919028000001", "opt": "482913"}, "otp"),
        ({"mobile": "+919028000001", "OTP": "482913"}, "otp"),
        ({"mobile": "+919028000001", "code": "482913"}, "otp"),
    ],
)
def test_a_near_miss_in_a_body_is_rejected_and_sends_no_sms(
    serve: Serve, path: str, fields: dict[str, str], meant: str, *, as_json: bool
) -> None:
    url = f"{serve(UNSUBSCRIBE_REQUIRES_OTP='true')}{path}"
    response = requests.post(url, **{"json" if as_json else "data": fields}, timeout=30)  # type: ignore[arg-type]
    assert_problem(response, 400, "Unknown parameter", f"Did you mean {meant}?")
    assert_problem(requests.get(url, fields, timeout=30), 400, "Unknown parameter", f"Did you mean {meant}?")


@sqlite_only
def test_a_name_in_a_body_may_be_any_text(serve: Serve) -> None:
    url = f"{serve()}/subscribe"
    json_body = {"Content-Type": "application/json"}
    response = requests.post(url, b'{"mobile\\ud800\\u202e": 1}', headers=json_body, timeout=30)
    assert_problem(response, 400, "Unknown parameter", r"parameter mobile\ud800\u202e here. Did you mean mobile?")
    response = requests.post(url, {"mobile": "+919028000001", "form_id": "7", "submit": "Send"}, timeout=30)
    assert response.status_code == 200, "other fields of a form are ignored"


def test_the_time_for_many_names_is_bounded() -> None:
    names = [f"categ{number:x}" for number in range(20_000)]
    begin = time.process_time()
    reject_misspelt_names([*names, "x" * 100_000], PARAMETERS["/quotes"])
    assert time.process_time() - begin < 0.5
    with pytest.raises(falcon.HTTPBadRequest):
        reject_misspelt_names([*names[: MAX_CHECKED_NAMES - 1], "categry"], PARAMETERS["/quotes"])


@pytest.mark.parametrize("wrong", ["", "0", "017", "1_7", "+1", " 1", "१७", "1" * 10])
def test_an_id_is_written_in_one_way_only(wrong: str) -> None:
    assert parse_id(wrong) is None
    assert parse_id("17") == 17
    assert parse_id("9" * 9) == 999_999_999


@pytest.mark.parametrize("wrong", ["", "20261122", "2026-W47-7", "2026-11-31", "२०२६-११-२२"])
def test_a_date_is_written_in_one_way_only(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_date(wrong)
    assert parse_date("2026-11-22") == date(2026, 11, 22)
