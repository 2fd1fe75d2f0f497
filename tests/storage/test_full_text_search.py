import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from peewee import Database

from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import Settings, read_settings
from quoteapi.storage import catalogue, database
from quoteapi.storage.catalogue import (
    Total,
    catalogue_size,
    count_quotes,
    list_names,
    list_quotes,
    store_quotation,
    store_quotations,
)
from quoteapi.storage.full_text_search import Filters, comparison_key, search_tokens, tokenize
from quoteapi.storage.models import Author, Category, Quote
from quoteapi.storage.models import database as bound
from tests.helpers import postgresql_server
from tests.helpers.data import ALCOTT, AUSTEN, KABIR, NOON, SECRET_KEY, ZOLA, make_catalogue, numbered_quotations

PARACELSUS = "Philippus Aureolus Theophrastus Bombastus von Hohenheim, called Paracelsus"
DISH = "Lopadotemachoselachogaleokranioleipsanodrimhypotrimmatosilphiokarabomelitokatakechymenokichlepi…"

SAID = {
    "alcott": ALCOTT,
    "austen": AUSTEN,
    "zola": ZOLA,
    "kabir": KABIR,
    "dickinson": Quotation("“Hope” is the thing with feathers —", "Emily Dickinson", "hope", "Poem 314 (c. 1861)"),
    "bacon": Quotation("Hope is a good breakfast, but it’s a bad supper.", "Francis Bacon", "hope", "Apophthegms"),
    "dish": Quotation(DISH, "Aristophanes", "food", "Ecclesiazusae (391 BC)"),
    "poison": Quotation("The dose makes the poison.", PARACELSUS, "science"),
    "younger": Quotation("Nothing is without poison.", f"{PARACELSUS} the Younger", "science"),
    "shakespeare": Quotation("To be, or not to be: to be, to BE!", "William Shakespeare", "fate", "After Hamlet"),
}
MEASURED = [Quotation("m" * length, "Homer", "lengths") for length in range(1, 321)]
ALL = [*SAID.values(), *numbered_quotations(40), *MEASURED]
NAMES = [*SAID, *(f"number {n}" for n in range(1, 41)), *(f"length {n}" for n in range(1, 321))]


@contextmanager
def a_file_and_a_server(folder: Path) -> Iterator[dict[str, Database]]:
    """Open a database of each kind, with nothing in it."""
    with postgresql_server.a_database() as on_a_server, ExitStack() as stack:
        addresses = f"sqlite:///{folder}/a.db", on_a_server
        make_catalogue(folder / "a.db", [])
        settings = [Settings(database_url=address, secret_key=SECRET_KEY) for address in addresses]
        opened = [stack.enter_context(database.open_database(one)) for one in settings]
        yield dict(zip(addresses, opened, strict=True))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Database]]:
    """Answer a file and a server that have the same quotes."""
    with a_file_and_a_server(tmp_path_factory.mktemp("search")) as opened:
        for one in opened.values():
            with bound.override(one):
                store_quotations(ALL, NOON)
                bound.execute_sql("ANALYZE quote")
        yield list(opened.values())


def of_each(both: list[Database], ask: Callable[[], Any]) -> Any:  # noqa: ANN401
    """Ask both. Answer what they say, which has to be the same."""
    answers = []
    for opened in both:
        with bound.override(opened):
            answers.append(ask())
    assert answers[0] == answers[1]
    return answers[0]


def find(both: list[Database], filters: Filters) -> tuple[list[str], Total]:
    """Answer what both find, the newest first, and how many they say it is."""
    rows, counted = of_each(both, lambda: ([row.id for row in list_quotes(filters, 500)], count_quotes(filters)))
    return [NAMES[quote_id - 1] for quote_id in rows], counted


# ---- words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don’t PANIC, ÉMILE: naïve e\u0301mile!", "don t panic emile naive emile"),
        ("well-known rock,paper a=b_c'd\"e\\f", "well known rock paper a b c d e f"),
        ("Straße, ﬁne, Ⅻ, x²; 391 BC, ١٨٦٨", "strasse fine xii x2 391 bc ١٨٦٨"),
        ("soft\u00adhyphen zero\u200bwidth \ufeffmark", "softhyphen zerowidth mark"),
        ("काल करे, की कि क़लम शब्\u200dद", "काल करे की कि क\u093cलम शब्द"),
        ("がぎ 日本語", "か\u3099き\u3099 日本語"),
        ("a\x00b\x07c\ud800d\u2028e", "a b c d e"),
        (" —…! ", ""),
        ("Ich ❤️ dich", "ich dich"),
        ("1️⃣ 2 ≠ 3", "1 2 3"),
    ],
)
def test_words_are_letters_and_digits_without_case_and_accents(text: str, expected: str) -> None:
    assert tokenize(text) == expected.split()
    assert comparison_key(text) == expected.replace(" ", "")


@given(st.text())
def test_what_a_text_is_compared_by_can_be_sent_and_asked_for(text: str) -> None:
    once = comparison_key(text)
    assert once.isprintable(), "or a cursor that has it is refused"
    assert tokenize(" ".join(tokenize(text))) == tokenize(text)
    assert not set("= '\"\\") & set(once), "which would mean something to an index"


def test_a_quote_is_found_by_its_words_its_names_and_its_length() -> None:
    licht = Quotation("Mehr\nLicht …!", "Johann Wolfgang von Goethe", "Letzte Worte")
    names = "johann wolfgang von goethe = = a=johannwolfgangvongoethe c=letzteworte"
    assert search_tokens(licht) == f"mehr licht = {names} 0=13 1=6 2=3 3=1 4=0 5=0 6=0"
    assert max(map(len, search_tokens(SAID["dish"]).split())) == 60


# ---- what is found


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("hope", "bacon dickinson alcott"),
        ("BUSY   hópe", "alcott"),
        ('"to be to be"', "shakespeare"),
        ("rocks OR busy OR nonsense", "austen alcott"),
        ("hope -busy -supper", "dickinson"),
        ('hope -"a good breakfast"', "dickinson alcott"),
        ("hope NOT (busy OR supper)", "dickinson"),
        ("(rocks OR hope) -busy -supper", "dickinson austen"),
        ("feath*", "dickinson"),
        ("fe*", ""),
        ('"mountains jane"', ""),
        ("1868", "alcott"),
        ("l’aurore J'accuse", "zola"),
        ("it's", "bacon"),
        ("its", ""),
        ("काल", "kabir"),
        ("कल", ""),
        (DISH, "dish"),
        (f"{DISH[:60]}ending otherwise", ""),
        (f"{DISH[:50]}*", "dish"),
        ("hope OR", "bacon dickinson alcott"),
        ("NOT hope", "bacon dickinson alcott"),
        ('"hope (', "bacon dickinson alcott"),
        ("", ""),
    ],
)
def test_words_find_quotes_as_people_type_them(both: list[Database], typed: str, expected: str) -> None:
    names = expected.split()
    assert find(both, Filters(words=typed)) == (names, Total(len(names), is_exact=True))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(category="HOPE"), ["bacon", "dickinson", "alcott"]),
        (Filters(category="!"), []),
        (Filters(author="emile  ZOLA."), ["zola"]),
        (Filters(author=PARACELSUS), ["poison"]),
        (Filters(author="कबीर", category="समय"), ["kabir"]),
        (Filters(category="hope", author="Jane Austen"), []),
        (Filters(category="hope", words="feathers OR busy", max_length=20), ["alcott"]),
        (Filters(words="poison", author=PARACELSUS, min_length=27), []),
    ],
)
def test_filters_narrow_together(both: list[Database], filters: Filters, expected: list[str]) -> None:
    assert find(both, filters) == (expected, Total(len(expected), is_exact=True))


@given(st.none() | st.integers(1, 330), st.none() | st.integers(1, 330))
def test_any_range_of_lengths_is_found_exactly(both: list[Database], low: int | None, high: int | None) -> None:
    fits = [(low or 0) <= len(quotation.quote) <= (high or 999) for quotation in ALL]
    expected = [name for name, does in zip(NAMES, fits, strict=True) if does]
    assert find(both, Filters(min_length=low, max_length=high))[0] == expected[::-1]


# ---- whatever anyone types

PIECES = sorted({piece for quotation in SAID.values() for piece in f"{quotation.quote} {quotation.author}".split()})
PHRASES = [" ".join(quotation.quote.split()[start : start + 3]) for quotation in SAID.values() for start in (0, 2, 4)]
terms = st.one_of(
    st.sampled_from([*PIECES, "hope", "is", "the", "poison", "to", "be"]),
    st.sampled_from(PHRASES).map('"{}"'.format),
    st.sampled_from(PIECES).map(lambda piece: f"{piece[:4]}*"),
    st.text(max_size=6),
)


def combined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    between = st.sampled_from([" ", " OR ", " AND ", " NOT ", " -"])
    return st.tuples(parts, between, parts).map("".join) | parts.map("({})".format) | parts.map("-{}".format)


@given(st.recursive(terms, combined, max_leaves=8))
def test_both_engines_find_the_same_for_whatever_was_typed(both: list[Database], typed: str) -> None:
    names, counted = find(both, Filters(words=typed))
    assert counted == Total(len(names), is_exact=True)


@given(st.text() | st.text("\"'()*-:{}^+=\\&|!<>_ \t\r\n\x1a\x7faORNTD", max_size=200))
@example("(" * 200)
@example("a OR b (" * 25)
@example("a" + " NOT b" * 33)
@example("hope " * 1_000)
@example("-" * 200 + "m" * 5_000)
def test_any_text_is_a_valid_search(both: list[Database], typed: str) -> None:
    find(both, Filters(words=typed, category="hope", max_length=90))


# ---- pages and totals


def test_pages_follow_one_another_the_newest_first(both: list[Database]) -> None:
    for filters, many in ((Filters(), 370), (Filters(words="number"), 40), (Filters(max_length=99), 149)):
        seen: list[int] = []
        while batch := of_each(both, lambda: [row.id for row in list_quotes(filters, 17, seen[-1] if seen else None)]):  # noqa: B023
            seen += batch
        assert len(seen) == many
        assert seen == sorted(set(seen), reverse=True)


def test_totals_are_exact_up_to_where_counting_on_is_not_worth_it(
    both: list[Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "COUNT_LIMIT", 3)
    for filters, *expected in (
        (Filters(words="hope"), 3, True),
        (Filters(words="number"), 3, False),
        (Filters(category="lengths", max_length=2), 2, True),
        (Filters(category="lengths"), 320, True),
        (Filters(author="homer"), 320, True),
        (Filters(author="nobody"), 0, True),
        (Filters(), 370, True),
    ):
        assert of_each(both, partial(count_quotes, filters)) == tuple(expected), filters


# ---- how the index is used


def plan_of(
    opened: Database, explain: str, filters: Filters, before: int | None, caplog: pytest.LogCaptureFixture
) -> list[str]:
    """Answer how a database goes about a page."""
    with caplog.at_level(logging.DEBUG, "peewee"), bound.override(opened):
        list_quotes(filters, 20, before)
        statement, values = cast("tuple[str, object]", caplog.records[-1].msg)
        steps = opened.execute_sql(f"{explain} {statement}", values).fetchall()  # type: ignore[no-untyped-call]
    return [str(step[-1]) for step in steps]


@pytest.mark.parametrize(
    "filters",
    [
        Filters(words='(rocks OR "keep busy") -feath*'),
        Filters(author="Homer"),
        Filters(category="lengths"),
        Filters(min_length=3, max_length=90),
        Filters("lengths", "Homer", 90, 3, "hope"),
    ],
)
def test_on_a_file_a_page_comes_from_the_index_in_order(
    both: list[Database], filters: Filters, caplog: pytest.LogCaptureFixture
) -> None:
    for before in (None, 300):
        how = plan_of(both[0], "EXPLAIN QUERY PLAN", filters, before, caplog)
        assert "VIRTUAL TABLE INDEX" in how[0]
        assert how[1:] == ["SEARCH t1 USING INTEGER PRIMARY KEY (rowid=?)"], "neither a scan nor a sort"
    without = plan_of(both[0], "EXPLAIN QUERY PLAN", Filters(), 300, caplog)
    assert without == ["SEARCH t1 USING INTEGER PRIMARY KEY (rowid<?)"]


@pytest.mark.parametrize("typed", ["feathers", '"keep busy"', "poison OR feath*", "feathers -hope"])
def test_on_a_server_the_index_can_answer_it(
    both: list[Database], typed: str, caplog: pytest.LogCaptureFixture
) -> None:
    with both[1].atomic() as transaction:
        for way in ("seqscan", "indexscan"):  # which are cheaper while there are so few
            both[1].execute_sql(f"SET LOCAL enable_{way} = off")  # type: ignore[no-untyped-call]
        how = plan_of(both[1], "EXPLAIN", Filters(words=typed), None, caplog)
        transaction.rollback()
    assert any("Bitmap Index Scan on quote_search" in step for step in how), how


# ---- how the index is kept


def assert_right() -> None:
    """Assert that ids have no gaps, and that counts and index are what the quotes say."""
    columns = Quote.select(Quote.id, Quote.author_key, Quote.category_key).order_by(Quote.id)
    ids, authors, categories = zip(*cast("Any", columns.tuples()), strict=True)
    assert ids == tuple(range(1, catalogue_size() + 1))
    assert {row.key: row.quotes for row in list_names(Author, 99)} == Counter(authors)
    assert {row.key: row.quotes for row in list_names(Category, 99)} == Counter(categories)
    if database.is_sqlite():
        bound.execute_sql("INSERT INTO quote_search (quote_search, rank) VALUES ('integrity-check', 1)")
    newest = Quote.get_by_id(ids[-1])
    assert list_quotes(Filters(words=f'"{newest.quote}"', author=newest.author), 1) == [newest]


SOME = [
    Quotation(quote, author, category)
    for quote, author in (("Panta rhei.", "Heraclitus"), ("Panta, rhei!", "HERACLITUS"), ("Cogito.", "Descartes"))
    for category in ("change", "Thought")
]


def key_of(quotation: Quotation) -> tuple[str, str]:
    return comparison_key(quotation.quote), comparison_key(quotation.author)


KEYS = {key_of(quotation) for quotation in ALL}


@given(st.lists(st.lists(st.sampled_from([*SOME, ALCOTT, *numbered_quotations(4, 39)]), max_size=5), max_size=6))
def test_however_quotes_come_they_are_counted_and_indexed(both: list[Database], batches: list[list[Quotation]]) -> None:
    def keep_each() -> int:
        with bound.atomic() as transaction:
            for batch in batches:
                _ = store_quotation(batch[0], NOON) if len(batch) == 1 else store_quotations(batch, NOON)
            assert_right()
            size = catalogue_size()
            transaction.rollback()
            return size

    added = {key_of(one) for batch in batches for one in batch}
    assert of_each(both, keep_each) == len(KEYS | added)


def test_a_quote_that_is_changed_or_taken_out_by_hand_is_so_in_the_index(both: list[Database]) -> None:
    def change() -> list[list[str]]:
        with bound.atomic() as transaction:
            Quote.update(words=search_tokens(AUSTEN)).where(Quote.id == 1).execute()
            Quote.delete().where(Quote.id == 5).execute()
            found = [[NAMES[row.id - 1] for row in list_quotes(Filters(words=typed), 9)] for typed in ("hope", "rocks")]
            transaction.rollback()
        return found

    assert of_each(both, change) == [["bacon"], ["austen", "alcott"]]


def add(url: str, first: int) -> int:
    """Keep quotes in another process: some one by one, some together, half of them what others keep too."""
    opened = database.connect(read_settings({"DATABASE_URL": url, "SECRET_KEY": SECRET_KEY}))
    with opened.connection_context():
        new = sum(store_quotation(quotation, NOON)[1] for quotation in numbered_quotations(5, first))
        return new + store_quotations(numbered_quotations(10, first + 5), NOON)


def test_quotes_that_many_add_at_once_are_numbered_counted_and_indexed(tmp_path: Path) -> None:
    with a_file_and_a_server(tmp_path) as opened, get_context("spawn").Pool(3) as processes:
        for url, one in opened.items():
            with bound.override(one):
                store_quotation(KABIR, NOON)
                added = processes.starmap(add, [(url, 1 + 5 * part) for part in range(12)], chunksize=1)
                assert (sum(added), catalogue_size()) == (70, 71)
                assert_right()


def test_names_that_begin_alike_for_long_are_told_apart(open_database: None) -> None:
    names = ["Author of many words " * 4 + ending for ending in ("one", "another")]
    for name in names:
        store_quotation(Quotation(f"By {name[-7:]}.", name, "wit"), NOON)
    assert [[row.author for row in list_quotes(Filters(author=name), 5)] for name in names] == [
        [name] for name in names
    ]
    assert [count_quotes(Filters(author=name, words="by")).value for name in names] == [1, 1]
