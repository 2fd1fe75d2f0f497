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
    list_and_count_quotes,
    list_names,
    list_quotes,
    store_quotation,
    store_quotations,
)
from quoteapi.storage.full_text_search import Filters, comparison_key, search_error, search_tokens, tokenize
from quoteapi.storage.models import Author, Category, Quote
from quoteapi.storage.models import database as bound
from quoteapi.storage.sqlite import SqliteFile
from tests.helpers import postgresql_server
from tests.helpers.data import ALCOTT, AUSTEN, KABIR, NOON, SECRET_KEY, ZOLA, make_catalogue, numbered_quotations

PARACELSUS = "Philippus Aureolus Theophrastus Bombastus von Hohenheim, called Paracelsus"
DISH = "Lopadotemachoselachogaleokranioleipsanodrimhypotrimmatosilphiokarabomelitokatakechymenokichlepi…"

QUOTATIONS = {
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
OF_EACH_LENGTH = [Quotation("m" * length, "Homer", "lengths") for length in range(1, 321)]
ALL = [*QUOTATIONS.values(), *numbered_quotations(40), *OF_EACH_LENGTH]
NAMES = [*QUOTATIONS, *(f"number {n}" for n in range(1, 41)), *(f"length {n}" for n in range(1, 321))]


@contextmanager
def open_sqlite_and_postgresql(folder: Path) -> Iterator[dict[str, Database]]:
    """Open a database of each kind, with nothing in it."""
    with postgresql_server.create_database() as on_a_server, ExitStack() as stack:
        addresses = f"sqlite:///{folder}/a.db", on_a_server
        make_catalogue(folder / "a.db", [])
        settings = [Settings(database_url=address, secret_key=SECRET_KEY) for address in addresses]
        opened = [stack.enter_context(database.open_database(one)) for one in settings]
        yield dict(zip(addresses, opened, strict=True))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Database]]:
    """Open an SQLite and a PostgreSQL database with the same quotes."""
    with open_sqlite_and_postgresql(tmp_path_factory.mktemp("search")) as opened:
        for one in opened.values():
            with bound.override(one):
                store_quotations(ALL, NOON)
                bound.execute_sql("ANALYZE quote")
        yield list(opened.values())


def same_result(both: list[Database], query: Callable[[], Any]) -> Any:  # noqa: ANN401
    """Return the result of a query, which must be the same on both databases."""
    results = []
    for opened in both:
        with bound.override(opened):
            results.append(query())
    assert results[0] == results[1]
    return results[0]


def find(both: list[Database], filters: Filters) -> tuple[list[str], Total]:
    """Return the names of the quotes that both find, the newest first, and their total."""

    def search() -> tuple[list[int], Total]:
        ids = [row.id for row in list_quotes(filters, 500)]
        first, total = list_and_count_quotes(filters, 20)
        assert [row.id for row in first] == ids[:20]
        return ids, total

    ids, total = same_result(both, search)
    return [NAMES[quote_id - 1] for quote_id in ids], total


# ---- tokens


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
def test_text_is_split_into_letters_and_digits_without_case_and_accents(text: str, expected: str) -> None:
    assert tokenize(text) == expected.split()
    assert comparison_key(text) == expected.replace(" ", "")


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("Don’t!", "dont"),
        ("ÉMILE  Zola", "Emile Zola"),
        ("straße", "STRASSE"),
        ("ﬁne", "fine"),
        ("Å", "A\u030a"),
        ("क़लम", "क\u093cलम"),
    ],
)
def test_case_accents_punctuation_and_spaces_do_not_change_the_comparison_key(one: str, another: str) -> None:
    assert comparison_key(one) == comparison_key(another)


@pytest.mark.parametrize(("one", "another"), [("कि", "की"), ("が", "か"), ("cat", "car"), ("१", "२")])
def test_letters_and_vowel_signs_change_the_comparison_key(one: str, another: str) -> None:
    assert comparison_key(one) != comparison_key(another)


@given(st.text())
def test_comparison_keys_are_valid_in_cursors_and_in_index_expressions(text: str) -> None:
    key = comparison_key(text)
    assert key.isprintable(), "or a cursor that contains it is refused"
    assert tokenize(" ".join(tokenize(text))) == tokenize(text)
    assert not set("= '\"\\") & set(key), "which have a meaning in expressions"


def test_a_quote_is_indexed_by_its_words_names_and_length() -> None:
    licht = Quotation("Mehr\nLicht …!", "Johann Wolfgang von Goethe", "Letzte Worte")
    names = "johann wolfgang von goethe = = a=johannwolfgangvongoethe c=letzteworte"
    assert search_tokens(*licht) == f"mehr licht = {names} 0=13 1=6 2=3 3=1 4=0 5=0 6=0"
    assert max(map(len, search_tokens(*QUOTATIONS["dish"]).split())) == 60


# ---- matches


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
def test_searches_as_users_type_them_find_quotes(both: list[Database], typed: str, expected: str) -> None:
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
def test_filters_are_combined_with_and(both: list[Database], filters: Filters, expected: list[str]) -> None:
    assert find(both, filters) == (expected, Total(len(expected), is_exact=True))


@given(st.none() | st.integers(1, 330), st.none() | st.integers(1, 330))
def test_any_range_of_lengths_matches_exactly(both: list[Database], low: int | None, high: int | None) -> None:
    matches = [(low or 0) <= len(quotation.quote) <= (high or 999) for quotation in ALL]
    expected = [name for name, match in zip(NAMES, matches, strict=True) if match]
    assert find(both, Filters(min_length=low, max_length=high))[0] == expected[::-1]


# ---- any input

WORDS = sorted({word for quotation in QUOTATIONS.values() for word in f"{quotation.quote} {quotation.author}".split()})
PHRASES = [
    " ".join(quotation.quote.split()[start : start + 3]) for quotation in QUOTATIONS.values() for start in (0, 2, 4)
]
terms = st.one_of(
    st.sampled_from([*WORDS, "hope", "is", "the", "poison", "to", "be"]),
    st.sampled_from(PHRASES).map('"{}"'.format),
    st.sampled_from(WORDS).map(lambda word: f"{word[:4]}*"),
    st.text(max_size=6),
)


def combine(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from([" ", " OR ", " AND ", " NOT ", " -"])
    return st.tuples(parts, operators, parts).map("".join) | parts.map("({})".format) | parts.map("-{}".format)


@given(st.recursive(terms, combine, max_leaves=8))
def test_both_engines_find_the_same_for_any_search(both: list[Database], typed: str) -> None:
    names, total = find(both, Filters(words=typed))
    assert total == Total(len(names), is_exact=True)


@given(st.text() | st.text("\"'()*-:{}^+=\\&|!<>_ \t\r\n\x1a\x7faORNTD", max_size=200))
@example("(" * 200)
@example("a OR b (" * 25)
@example("a" + " NOT b" * 33)
@example("hope " * 1_000)
@example("-" * 200 + "m" * 5_000)
def test_any_text_is_a_valid_search(both: list[Database], typed: str) -> None:
    find(both, Filters(words=typed, category="hope", max_length=90))


# ---- pages and totals


def page_of_ids(filters: Filters, before: int | None) -> list[int]:
    return [row.id for row in list_quotes(filters, 17, before)]


def test_pages_are_consecutive_and_the_newest_quotes_come_first(both: list[Database]) -> None:
    for filters, expected in ((Filters(), 370), (Filters(words="number"), 40), (Filters(max_length=99), 149)):
        seen: list[int] = []
        while batch := same_result(both, partial(page_of_ids, filters, seen[-1] if seen else None)):
            seen += batch
        assert len(seen) == expected
        assert seen == sorted(set(seen), reverse=True)


def test_totals_are_exact_up_to_the_count_limit(both: list[Database], monkeypatch: pytest.MonkeyPatch) -> None:
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
        assert same_result(both, lambda: list_and_count_quotes(filters, 1)[1]) == tuple(expected), filters  # noqa: B023


# ---- query plans


def query_plan(
    opened: Database, explain: str, filters: Filters, before: int | None, caplog: pytest.LogCaptureFixture
) -> list[str]:
    """Return how a database executes the query of a page."""
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
def test_on_sqlite_a_page_is_read_from_the_index_in_order(
    both: list[Database], filters: Filters, caplog: pytest.LogCaptureFixture
) -> None:
    for before in (None, 300):
        plan = query_plan(both[0], "EXPLAIN QUERY PLAN", filters, before, caplog)
        assert "VIRTUAL TABLE INDEX" in plan[0]
        assert plan[1:] == ["SEARCH t1 USING INTEGER PRIMARY KEY (rowid=?)"], "neither a scan nor a sort"
    without_filters = query_plan(both[0], "EXPLAIN QUERY PLAN", Filters(), 300, caplog)
    assert without_filters == ["SEARCH t1 USING INTEGER PRIMARY KEY (rowid<?)"]


@pytest.mark.parametrize("typed", ["feathers", '"keep busy"', "poison OR feath*", "feathers -hope"])
def test_on_postgresql_a_search_can_use_the_index(
    both: list[Database], typed: str, caplog: pytest.LogCaptureFixture
) -> None:
    with both[1].atomic() as transaction:
        for plan_type in ("seqscan", "indexscan"):  # which are cheaper for so few quotes
            both[1].execute_sql(f"SET LOCAL enable_{plan_type} = off")  # type: ignore[no-untyped-call]
        plan = query_plan(both[1], "EXPLAIN", Filters(words=typed), None, caplog)
        transaction.rollback()
    assert any("Bitmap Index Scan on quote_search" in step for step in plan), plan


# ---- limits of searches

SENTENCE = "The only way to do great work is to love what you do, and to go on looking if you haven’t found it"


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "rocks mountains",
        SENTENCE,
        f'"{SENTENCE[:60]}"',
        '"tomorrow and tomorrow and tomorrow"',
        '"of the people, by the people, for the people"',
        "hope OR love OR courage OR time OR truth",
        "(rocks OR hope) -busy -supper",
        "natur* -human*",
        "a " * 98,
        "the OF " * 28,
        "hope OR " * 24,
        "well-known",
    ],
)
def test_searches_as_users_type_them_are_within_the_limits(typed: str) -> None:
    assert search_error(typed) is None


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        ("m" * 201, "at most 200 characters"),
        (" ".join(map(str, range(21))), "at most 20 words"),
        ('"{}"'.format(" ".join(map(str, range(21)))), "at most 20 words"),
        ("-".join("abcdefghijklmnopqrstuvw"), "at most 20 words"),
        ("'".join("a" * 100), "at most 20 words"),
        ("\ufdfa" * 30, "at most 20 words"),
        (" -".join("abcdefghijklmnopqrstuvw"), "at most 20 words"),
        ('"the the the the the the"', "at most 4 words"),
        ('"a b" "b a" "a c" "c a" "b c" "c b"', "at most 4 words"),
        ("a-a-a-a-a-a", "at most 4 words"),
        ("a OR b OR c OR d OR e OR f", "at most 4 times in all"),
        ("the -(the OR of OR and OR to OR in)", "at most 4 times in all"),
        ("the -a -b -c -d -e", "at most 4 times in all"),
        ("the NOT a NOT b NOT c NOT d NOT e", "at most 4 times in all"),
        ("one* two* three* four* five*", "at most 4 times in all"),
        ("(a OR b) (c OR d) -e -f fgh*", "at most 4 times in all"),
    ],
)
def test_a_search_that_would_read_much_of_the_index_is_an_error(typed: str, error: str) -> None:
    assert error in str(search_error(typed))


@pytest.mark.parametrize(
    ("repeated", "once"),
    [
        ("hope " * 40, "hope"),
        ("hope BUSY Hope busy hope busy", "hope busy"),
        ('"keep busy" "Keep, busy!" hope "keep busy"', '"keep busy" hope'),
        ("hope OR busy OR hope OR hope", "hope OR busy"),
        ("(hope hope OR rocks) rocks rocks -busy", "(hope OR rocks) rocks -busy"),
        ("feath* feath* feather", "feath* feather"),
    ],
)
def test_a_repeated_term_is_looked_up_once(
    both: list[Database], repeated: str, once: str, caplog: pytest.LogCaptureFixture
) -> None:
    for opened, explain in zip(both, ("EXPLAIN QUERY PLAN", "EXPLAIN"), strict=True):
        statements = []
        for typed in (repeated, once):
            query_plan(opened, explain, Filters(words=typed), None, caplog)
            statements.append(str(caplog.records[-2].msg).translate(str.maketrans("", "", "()")))
        assert statements[0] == statements[1]


# ---- updates of the index


def assert_consistent() -> None:
    """Assert that ids have no gaps, and that counts and index agree with the quotes."""
    columns = Quote.select(Quote.id, Quote.author_key, Quote.category_key).order_by(Quote.id)
    ids, authors, categories = zip(*cast("Any", columns.tuples()), strict=True)
    assert ids == tuple(range(1, catalogue_size() + 1))
    assert {row.key: row.quotes for row in list_names(Author, 99)} == Counter(authors)
    assert {row.key: row.quotes for row in list_names(Category, 99)} == Counter(categories)
    if isinstance(bound.obj, SqliteFile):
        bound.execute_sql("INSERT INTO quote_search (quote_search, rank) VALUES ('integrity-check', 1)")
    newest = Quote.get_by_id(ids[-1])
    assert list_quotes(Filters(words=f'"{newest.quote}"', author=newest.author), 1) == [newest]


DUPLICATES = [
    Quotation(quote, author, category)
    for quote, author in (("Panta rhei.", "Heraclitus"), ("Panta, rhei!", "HERACLITUS"), ("Cogito.", "Descartes"))
    for category in ("change", "Thought")
]


def identity(quotation: Quotation) -> tuple[str, str]:
    return comparison_key(quotation.quote), comparison_key(quotation.author)


IDENTITIES = {identity(quotation) for quotation in ALL}


@given(st.lists(st.lists(st.sampled_from([*DUPLICATES, ALCOTT, *numbered_quotations(4, 39)]), max_size=5), max_size=6))
def test_quotes_are_counted_and_indexed_however_they_are_stored(
    both: list[Database], batches: list[list[Quotation]]
) -> None:
    def store_batches() -> int:
        with bound.atomic() as transaction:
            for batch in batches:
                _ = store_quotation(batch[0], NOON) if len(batch) == 1 else store_quotations(batch, NOON)
            assert_consistent()
            size = catalogue_size()
            transaction.rollback()
            return size

    added = {identity(one) for batch in batches for one in batch}
    assert same_result(both, store_batches) == len(IDENTITIES | added)


def test_manual_updates_and_deletions_reach_the_index(both: list[Database]) -> None:
    def change() -> list[list[str]]:
        with bound.atomic() as transaction:
            Quote.update(words=search_tokens(*AUSTEN)).where(Quote.id == 1).execute()
            Quote.delete().where(Quote.id == 5).execute()
            found = [[NAMES[row.id - 1] for row in list_quotes(Filters(words=typed), 9)] for typed in ("hope", "rocks")]
            transaction.rollback()
        return found

    assert same_result(both, change) == [["bacon"], ["austen", "alcott"]]


def store_in_process(url: str, first: int) -> int:
    """Store quotes, some one by one and some together; other processes store half of them as well."""
    opened = database.connect(read_settings({"DATABASE_URL": url, "SECRET_KEY": SECRET_KEY}))
    with opened.connection_context():
        new = sum(store_quotation(quotation, NOON)[1] for quotation in numbered_quotations(5, first))
        return new + store_quotations(numbered_quotations(10, first + 5), NOON)


def test_quotes_stored_by_concurrent_processes_are_numbered_counted_and_indexed(tmp_path: Path) -> None:
    with open_sqlite_and_postgresql(tmp_path) as opened, get_context("spawn").Pool(3) as processes:
        for url, one in opened.items():
            with bound.override(one):
                store_quotation(KABIR, NOON)
                added = processes.starmap(store_in_process, [(url, 1 + 5 * part) for part in range(12)], chunksize=1)
                assert (sum(added), catalogue_size()) == (70, 71)
                assert_consistent()


def test_long_names_with_the_same_beginning_are_distinguished(open_database: None) -> None:
    names = ["Author of many words " * 4 + ending for ending in ("one", "another")]
    for name in names:
        store_quotation(Quotation(f"By {name[-7:]}.", name, "wit"), NOON)
    assert [[row.author for row in list_quotes(Filters(author=name), 5)] for name in names] == [
        [name] for name in names
    ]
    assert [list_and_count_quotes(Filters(author=name, words="by"), 1)[1].value for name in names] == [1, 1]
