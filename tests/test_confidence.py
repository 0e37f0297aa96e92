"""Every measure against arithmetic done by hand, and the laws that hold for all of them."""

from __future__ import annotations

import math
from dataclasses import fields
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_logprobs.core.confidence import (
    Confidence,
    TokenMeasures,
    confidence_of,
    distinct,
    log1mexp,
    logsumexp,
    measure,
    sound_logprob,
    surprisal_tail,
)
from langchain_logprobs.core.tokens import CENSORED, Candidate, TokenLogprob
from langchain_logprobs.core.windows import lowest_window, window_means

LN2, LN3, LN4, LN5, LN10 = (math.log(number) for number in (2, 3, 4, 5, 10))
HALF, QUARTER, FIFTH, TENTH = -LN2, -LN4, -LN5, -LN10
close = pytest.approx


def token(text: str, logprob: float | None, listed: dict[str, float] | None = None) -> TokenLogprob:
    candidates = tuple(Candidate(of, its) for of, its in (listed or {}).items())
    return TokenLogprob(text, logprob, candidates=candidates)


def plain(*logprobs: float | None) -> Confidence:
    return confidence_of(token("t", logprob) for logprob in logprobs)


# What arrives


@pytest.mark.parametrize(
    ("given", "sound"),
    [
        (-0.5, -0.5),
        (-3, -3.0),
        (0.0, 0.0),
        (0, 0.0),
        (-1e-300, -1e-300),
        (-9998.999, -9998.999),
        (None, None),
        (math.nan, None),
        ("-0.5", None),
        (True, None),
        (False, None),
        ([-0.5], None),
        (complex(-1, 0), None),
        (-math.inf, CENSORED),
        (-9999, CENSORED),
        (-9999.0, CENSORED),
        (-1e300, CENSORED),
        (-(10**400), CENSORED),
        (1e-4, 0.0),
        (5e-7, 0.0),
        (1.0001e-4, None),
        (0.5, None),
        (1, None),
        (math.inf, None),
        (10**400, None),
        (Fraction(-1, 2), -0.5),
    ],
)
def test_a_logprob_is_taken_floored_zeroed_or_missing(given: object, sound: float | None) -> None:
    assert sound_logprob(given) == sound


def test_a_sound_logprob_is_a_plain_float_and_never_minus_zero() -> None:
    class Odd(float):
        """As NumPy's float64: a float, and yet its own type."""

    assert type(sound_logprob(Odd(-0.25))) is float
    assert type(sound_logprob(-2)) is float
    assert math.copysign(1, sound_logprob(-0.0) or 0.0) == 1.0
    assert sound_logprob(Odd("nan")) is None
    assert sound_logprob(Odd("-inf")) == CENSORED


# Per token


def test_a_token_among_its_candidates() -> None:
    # 1/2 chosen, 1/4 and 1/5 beside it; 1/20 unlisted.
    of = measure(token("a", HALF, {"a": HALF, "b": QUARTER, "c": FIFTH}))

    assert of.probability == close(0.5)
    assert of.surprisal == close(LN2)
    assert of.rank == 1
    assert of.margin == close(LN2)  # ln(1/2) - ln(1/4)
    assert of.tail_mass == close(0.05)
    # LN2/2 + LN4/4 + LN5/5 + LN20/20
    assert of.entropy == close(LN2 / 2 + LN4 / 4 + LN5 / 5 + math.log(20) / 20)
    assert of.log_odds == close(0.0, abs=1e-12)  # 1/2 against 1/4 + 1/5 + 1/20


def test_a_token_that_is_not_among_its_candidates_is_added() -> None:
    # 1/10 chosen; 1/2 and 1/4 listed; 3/20 unlisted.
    of = measure(token("z", TENTH, {"a": HALF, "b": QUARTER}))

    assert of.rank == 3
    assert of.margin == close(LN2)
    assert of.tail_mass == close(0.15)
    assert of.entropy == close(LN10 / 10 + LN2 / 2 + LN4 / 4 - 0.15 * math.log(0.15))
    assert of.log_odds == close(-math.log(9))  # 0.1 against 0.9


def test_without_candidates_only_the_tokens_own_measures_are_known() -> None:
    assert measure(token("a", QUARTER)) == TokenMeasures(
        probability=close(0.25),
        surprisal=close(LN4),
        rank=None,
        margin=None,
        entropy=None,
        tail_mass=None,
        log_odds=close(-LN3),  # 1/4 against 3/4
    )


def test_a_list_that_holds_only_the_chosen_token_says_what_is_left() -> None:
    of = measure(token("a", QUARTER, {"a": QUARTER}))

    assert (of.rank, of.margin) == (1, None)
    assert of.tail_mass == close(0.75)
    assert of.entropy == close(LN4 / 4 + 0.75 * math.log(4 / 3))
    assert of.log_odds == close(-LN3)


def test_ties_share_a_rank_and_leave_no_margin() -> None:
    first = measure(token("a", QUARTER, {"a": QUARTER, "b": QUARTER, "c": TENTH}))
    last = measure(token("c", TENTH, {"a": QUARTER, "b": QUARTER, "c": TENTH, "d": TENTH}))

    assert (first.rank, first.margin) == (1, 0.0)
    assert last.rank == 3


def test_the_tail_is_one_symbol_so_a_list_of_little_mass_is_not_renormalised() -> None:
    # Two candidates of 1/40 each: mass 0.05 must not score as a list of mass 1 does.
    of = measure(token("a", -math.log(40), {"a": -math.log(40), "b": -math.log(40)}))

    assert of.tail_mass == close(0.95)
    assert of.entropy == close(2 * math.log(40) / 40 - 0.95 * math.log(0.95))
    assert of.entropy != close(LN2)  # what renormalising gives


def test_the_chosen_token_counts_once_though_it_is_listed_too() -> None:
    # "p .9 shown as .474": 0.9 / (0.9 + 0.9 + 0.1)
    of = measure(token("yes", math.log(0.9), {"yes": math.log(0.9), "no": TENTH}))

    assert of.probability == close(0.9)
    assert of.tail_mass == close(0.0, abs=1e-12)
    assert of.log_odds == close(math.log(9))


def test_of_two_candidates_with_the_same_bytes_the_larger_counts() -> None:
    twice = TokenLogprob(
        "a",
        HALF,
        b"a",
        (Candidate("b", TENTH, b"b"), Candidate("B?", QUARTER, b"b"), Candidate("b", FIFTH)),
    )

    assert measure(twice) == measure(token("a", HALF, {"b": QUARTER}))
    assert distinct(twice.candidates) == (Candidate("B?", QUARTER, b"b"),)


def test_the_chosen_tokens_own_logprob_counts_where_the_list_has_another() -> None:
    assert measure(token("a", HALF, {"a": TENTH, "b": QUARTER})) == measure(
        token("a", HALF, {"b": QUARTER})
    )


def test_equal_texts_of_different_bytes_are_different_tokens() -> None:
    first, second = Candidate("\ufffd", QUARTER, b"\xf0"), Candidate("\ufffd", TENTH, b"\xe2")
    of = measure(TokenLogprob("\ufffd", HALF, b"\xc3", (first, second)))

    assert of.tail_mass == close(0.15)


def test_a_missing_logprob_leaves_what_the_candidates_say() -> None:
    # The list has the chosen token at 1/2: its mass is not part of the tail.
    of = measure(token("a", None, {"a": HALF, "b": QUARTER}))

    assert (of.probability, of.surprisal, of.rank, of.log_odds) == (None, None, None, None)
    assert of.margin == close(LN2)
    assert of.tail_mass == close(0.25)
    assert of.entropy == close(LN2 / 2 + LN4 / 4 + LN4 / 4)


@pytest.mark.parametrize("logprob", [None, -math.inf, math.nan])
def test_candidates_without_any_usable_number_measure_nothing(logprob: float | None) -> None:
    listed = {"a": math.nan, "b": -math.inf, "c": 7.0}
    of = measure(token("z", logprob, listed))

    assert (of.rank, of.margin, of.entropy, of.tail_mass) == (None, None, None, None)


def test_masses_that_sum_to_more_than_one_by_rounding_leave_no_tail() -> None:
    third = math.nextafter(-LN3, 0)
    of = measure(token("a", third, {"a": third, "b": third, "c": third}))

    assert of.tail_mass == 0.0
    assert of.entropy == close(LN3)
    assert of.log_odds == close(-LN2)


@pytest.mark.parametrize("exponent", range(3, 300, 27))
def test_near_certainty_one_minus_p_keeps_its_digits(exponent: int) -> None:
    rest = float(f"1e-{exponent}")  # 1 - p, for p = e^-rest: rest - rest^2/2 + ...
    of = measure(token("a", -rest))

    assert of.log_odds == close(-math.log(rest) - rest / 2 - rest**2 / 24, rel=1e-11)


def test_near_certainty_the_tail_keeps_its_digits() -> None:
    of = measure(token("a", -1e-9, {"a": -1e-9, "b": -30.0}))

    # 1 - e^-1e-9 - e^-30, by the series of e^x
    assert of.tail_mass == close(1e-9 - 5e-19 - math.exp(-30.0), rel=1e-12)
    assert of.log_odds == close(-math.log(1e-9) - 5e-10, rel=1e-9)


def test_a_token_that_is_certain_still_has_odds_against_its_alternatives() -> None:
    # A logprob of exactly 0.0 in 978 of 1,000 answers: the alternatives still tell them apart.
    sure = measure(token("B", 0.0, {"B": 0.0, "A": -20.0}))
    unsure = measure(token("B", 0.0, {"B": 0.0, "A": -7.0, "C": -7.0}))

    assert (sure.probability, unsure.probability) == (1.0, 1.0)
    assert sure.log_odds == close(20.0)
    assert unsure.log_odds == close(7.0 - LN2)


def test_alternatives_whose_mass_underflows_still_have_odds() -> None:
    of = measure(token("B", 0.0, {"B": 0.0, "A": -800.0, "C": -800.0}))  # e^-800 is 0.0

    assert of.log_odds == close(800.0 - LN2)


@pytest.mark.parametrize("listed", [{}, {"a": 0.0}, {"a": 0.0, "b": -math.inf, "c": -9999.0}])
def test_infinite_log_odds_are_none(listed: dict[str, float]) -> None:
    assert measure(token("a", 0.0, listed)).log_odds is None


def test_a_censored_alternative_is_no_odds_of_its_own() -> None:
    # Constrained decoding masks every other token: e^-9999 is no measurement.
    of = measure(token("a", HALF, {"a": HALF, "b": -9999.0}))

    assert of.log_odds == close(0.0, abs=1e-12)
    assert of.margin is None


def test_a_censored_token_ranks_behind_all_that_are_listed() -> None:
    of = measure(token("z", -math.inf, {"a": HALF, "b": QUARTER, "c": -9999.0}))

    assert of.rank == 3
    assert of.probability == 0.0
    assert of.margin == close(LN2)


def test_a_very_unlikely_token_stays_finite() -> None:
    of = measure(token("a", -800.0, {"b": -0.0}))  # e^-800 is 0.0

    assert (of.probability, of.surprisal, of.rank, of.margin) == (0.0, 800.0, 2, 800.0)
    assert of.log_odds == close(-800.0)


def test_no_measure_of_a_certain_token_is_minus_zero() -> None:
    of = measure(token("a", -0.0, {"a": -0.0, "b": -0.0}))

    assert [math.copysign(1, value) for value in of if value == 0] == [1.0] * 5


@pytest.mark.parametrize("power", range(-300, 3, 25))
def test_log1mexp_is_accurate_at_both_ends(power: int) -> None:
    value = -float(f"1e{power}")

    # ln(1 - e^x) -> ln(-x) + x/2 for x -> 0, -> -e^x for x -> -inf
    expected = math.log(-value) + value / 2 if value > -1e-5 else math.log1p(-math.exp(value))
    assert log1mexp(value) == close(expected, rel=1e-12)


def test_logsumexp_neither_overflows_nor_underflows() -> None:
    assert logsumexp([-1000.0, -1000.0]) == close(-1000.0 + LN2)
    assert logsumexp([0.0, -9999.0]) == 0.0
    assert logsumexp([]) == -math.inf
    assert logsumexp([-math.inf]) == -math.inf


# Per sequence


def test_the_measures_of_a_sequence() -> None:
    of = confidence_of(
        [
            token("a", HALF, {"a": HALF, "b": QUARTER}),  # tail 1/4
            token("b", QUARTER, {"a": HALF, "b": QUARTER}),  # tail 1/4
            token("c", TENTH),
            token("d", 0.0),
        ]
    )

    entropy = LN2 / 2 + LN4 / 4 + LN4 / 4
    # 1/2 * 1/4 * 1/10 * 1 = 1/80
    assert of == Confidence(
        count=4,
        missing=0,
        censored=0,
        with_candidates=2,
        confidence=close((1 / 80) ** 0.25),
        perplexity=close(80**0.25),
        mean_logprob=close(-math.log(80) / 4),
        sum_logprob=close(-math.log(80)),
        min_logprob=close(-LN10),
        surprisal_tail=close(LN10),
        mean_entropy=close(entropy),
        max_entropy=close(entropy),
        mean_margin=close(LN2),
        min_log_odds=close(-math.log(9)),
        low=2,
        low_ratio=0.5,
        low_longest_run=2,
        lowest_window=close((1 / 80) ** 0.25),
    )
    assert of.uncertainty == close(1 - (1 / 80) ** 0.25)


def test_no_tokens_have_no_measures() -> None:
    of = plain()

    assert of == Confidence(count=0, missing=0, censored=0, with_candidates=0, low=0)
    assert {name.name for name in fields(of) if getattr(of, name.name) is not None} == {
        "count",
        "missing",
        "censored",
        "with_candidates",
        "low",
        "low_longest_run",
    }
    assert of.uncertainty is None


def test_tokens_that_are_all_missing_have_only_counts() -> None:
    of = plain(None, math.nan, 0.7)

    assert (of.count, of.missing, of.low, of.low_ratio) == (3, 3, 0, None)
    assert (of.confidence, of.min_logprob, of.lowest_window) == (None, None, None)


def test_a_missing_logprob_is_out_of_every_mean_and_does_not_shift_its_neighbours() -> None:
    of = plain(HALF, None, HALF)

    assert (of.count, of.missing) == (3, 1)
    assert of.confidence == close(0.5)
    assert of.sum_logprob == close(-2 * LN2)
    assert of.low_ratio == 0.0


def test_tokens_without_candidates_are_left_out_of_the_means_that_need_them() -> None:
    of = confidence_of(
        [
            token("a", HALF, {"a": HALF, "b": HALF}),
            token("a", HALF, {"a": HALF}),
            token("a", HALF),
        ]
    )

    assert of.with_candidates == 2
    assert of.mean_entropy == close(LN2)  # both: 1/2 against 1/2, listed or not
    assert of.mean_margin == 0.0  # of the only one with a second candidate


def test_one_censored_token_among_twenty_is_floored_and_counted() -> None:
    # Without the floor: (e^-9999)^(1/20) = 7e-218
    of = plain(*[HALF] * 19, -9999.0)

    assert of.censored == 1
    assert of.confidence == close(math.exp((-19 * LN2 - 100) / 20))
    assert (of.min_logprob, of.low, of.low_longest_run) == (CENSORED, 1, 1)


def test_a_censored_token_with_candidates_is_floored_at_their_tail() -> None:
    of = confidence_of([token("z", -math.inf, {"a": HALF, "b": QUARTER, "c": FIFTH})])

    assert of.mean_logprob == close(math.log(0.05))
    assert of.min_logprob == CENSORED


@pytest.mark.parametrize(
    "listed",
    [{"z": -9999.0}, {"a": -math.inf}, {"a": math.nan}, {"a": HALF, "b": HALF}, {"a": 0.0}],
)
def test_a_censored_token_whose_candidates_bound_nothing_is_never_certain(
    listed: dict[str, float],
) -> None:
    # vLLM lists the sampled token itself first, at -9999: a tail mass of 1 is no bound.
    assert confidence_of([token("z", -9999.0, listed)]).mean_logprob == -100.0


def test_the_sum_stays_in_logs_where_the_product_is_zero() -> None:
    of = plain(*[-14.0] * 100)

    assert of.sum_logprob == -1400.0
    assert math.exp(-1400) == 0.0
    assert of.confidence == close(math.exp(-14))


def test_perplexity_is_clamped_where_it_would_overflow() -> None:
    assert plain(-800.0).perplexity == close(math.exp(700))
    assert plain(-800.0).confidence == 0.0
    assert plain(-600.0).perplexity == close(math.exp(600))


def test_a_certain_answer_is_exactly_certain() -> None:
    of = plain(0.0, -0.0, 1e-5)

    assert (of.confidence, of.perplexity, of.mean_logprob) == (1.0, 1.0, 0.0)
    assert (of.surprisal_tail, of.uncertainty) == (0.0, 0.0)
    zeros = (of.mean_logprob, of.sum_logprob, of.min_logprob, of.surprisal_tail, of.uncertainty)
    assert [math.copysign(1, zero or 0.0) for zero in zeros] == [1.0] * 5


def test_uncertainty_keeps_its_digits_near_certainty() -> None:
    assert plain(-1e-12).uncertainty == close(1e-12, rel=1e-9)


@pytest.mark.parametrize(("count", "worst"), [(1, 1), (9, 1), (10, 1), (11, 2), (20, 2), (21, 3)])
def test_the_worst_tenth_is_rounded_up(count: int, worst: int) -> None:
    logprobs = [-float(number) for number in range(1, count + 1)]  # the last is the worst

    assert surprisal_tail(logprobs) == close(sum(range(count - worst + 1, count + 1)) / worst)
    assert plain(*reversed(logprobs)).surprisal_tail == surprisal_tail(logprobs)


def test_a_window_longer_than_the_sequence_is_the_whole() -> None:
    assert window_means([-1.0, -2.0, -6.0], 32) == [close(-3.0)]
    assert plain(-1.0, -2.0, -6.0).lowest_window == close(math.exp(-3.0))


def test_windows_slide_by_one() -> None:
    assert window_means([-1.0, -2.0, -3.0, -7.0], 2) == [close(-1.5), close(-2.5), close(-5.0)]
    assert lowest_window([-1.0, -2.0, -3.0, -7.0], 2) == close(-5.0)


@pytest.mark.parametrize("count", [31, 32, 33, 100])
def test_the_lowest_window_is_of_thirty_two_tokens(count: int) -> None:
    logprobs = [-1.0] + [0.0] * (count - 1)

    assert plain(*logprobs).lowest_window == close(math.exp(-1 / min(count, 32)))


def test_a_window_after_a_floored_token_does_not_rise_above_certainty() -> None:
    tokens = [-9999.0, *[-1e-16] * 40]

    assert plain(*tokens).lowest_window == close(math.exp((-100 - 31e-16) / 32))
    assert max(window_means([-100.0, *[-1e-16] * 40])) <= 0.0


def test_low_is_strictly_below_the_threshold() -> None:
    assert plain(HALF).low == 0
    assert plain(math.nextafter(HALF, -1)).low == 1
    assert confidence_of([token("a", HALF)], low_token=0.6).low == 1


def test_low_tokens_are_counted_in_runs_that_a_missing_one_ends() -> None:
    of = plain(-3.0, -3.0, None, -3.0, -0.1, -3.0, -3.0, -3.0)

    assert (of.low, of.low_longest_run) == (6, 3)
    assert of.low_ratio == close(6 / 7)


def test_length_stands_beside_the_rest() -> None:
    # "probability 1 for the token 7}" and the like: a single token is its own sequence.
    of = plain(QUARTER)

    assert (of.count, of.confidence, of.lowest_window) == (1, close(0.25), close(0.25))


def test_measures_at_hand_are_used() -> None:
    tokens = [token("a", HALF, {"b": QUARTER}), token("c", None)]

    assert confidence_of(tokens, measures=[measure(of) for of in tokens]) == confidence_of(tokens)


# What always holds

LOGPROBS = st.one_of(
    st.floats(-30, 0),
    st.floats(-1e-8, 0),
    st.sampled_from([0.0, -0.0, -9999.0, -math.inf, 5e-5, -800.0]),
)
ANY_LOGPROBS = st.one_of(LOGPROBS, st.none(), st.just(math.nan), st.floats(0.1, 5))
TEXTS = st.sampled_from(["", "a", "b", " a", "\ufffd", "é", "\ud800", "ab"])
RAWS = st.one_of(st.none(), st.binary(max_size=2))
CANDIDATES = st.lists(st.builds(Candidate, TEXTS, LOGPROBS, RAWS), max_size=6)
TOKENS = st.builds(TokenLogprob, TEXTS, ANY_LOGPROBS, RAWS, CANDIDATES.map(tuple))


@given(TOKENS)
def test_every_measure_of_a_token_is_none_or_finite_and_in_its_range(of: TokenLogprob) -> None:
    measures = measure(of)

    assert all(value is None or math.isfinite(value) for value in measures)
    assert measures.probability is None or 0 <= measures.probability <= 1
    assert measures.surprisal is None or measures.surprisal >= 0
    assert measures.margin is None or measures.margin >= 0
    assert measures.entropy is None or measures.entropy >= 0
    assert measures.tail_mass is None or 0 <= measures.tail_mass <= 1
    assert measures.rank is None or 1 <= measures.rank <= 1 + len(of.candidates)
    assert (measures.entropy is None) == (measures.tail_mass is None)


@given(st.lists(TOKENS, max_size=80))
def test_every_measure_of_a_sequence_is_none_or_finite_and_in_its_range(
    tokens: list[TokenLogprob],
) -> None:
    of = confidence_of(tokens)

    values = [getattr(of, name.name) for name in fields(of)]
    assert all(value is None or math.isfinite(value) for value in values)
    assert 0 <= of.low_longest_run <= of.low <= of.count - of.missing
    assert of.censored + of.missing <= of.count == len(tokens)
    if of.confidence is None:
        assert of.missing == of.count
        return
    assert of.perplexity is not None
    assert of.uncertainty is not None
    assert of.lowest_window is not None
    assert of.surprisal_tail is not None
    assert of.mean_logprob is not None
    assert 0 <= of.confidence <= 1 <= of.perplexity
    assert 0 <= of.lowest_window <= 1
    assert of.confidence + of.uncertainty == close(1)
    assert of.surprisal_tail >= -of.mean_logprob - 1e-9


@given(TOKENS, st.randoms(use_true_random=False))
def test_the_order_of_candidates_changes_nothing(of: TokenLogprob, random: Random) -> None:
    shuffled = list(of.candidates)
    random.shuffle(shuffled)
    other = TokenLogprob(of.text, of.logprob, of.raw, tuple(shuffled))

    assert measure(other) == measure(of)


@given(TOKENS, st.data())
def test_a_candidate_listed_twice_changes_nothing(of: TokenLogprob, data: st.DataObject) -> None:
    if not of.candidates:
        return
    again = data.draw(st.sampled_from(of.candidates))
    unlikelier = again._replace(logprob=min(again.logprob, 0.0) - data.draw(st.floats(0, 5)))
    other = TokenLogprob(of.text, of.logprob, of.raw, (unlikelier, *of.candidates, again))

    assert measure(other) == measure(of)


@given(TOKENS)
def test_listing_the_chosen_token_changes_nothing(of: TokenLogprob) -> None:
    if of.logprob is None or not of.candidates:
        return
    listed = Candidate(of.text, of.logprob, of.raw)
    other = TokenLogprob(of.text, of.logprob, of.raw, (*of.candidates, listed))

    assert measure(other) == measure(of)


@given(st.lists(TOKENS, max_size=40), st.lists(TOKENS, max_size=40))
def test_joining_two_sequences_adds_their_counts_and_sums(
    left: list[TokenLogprob], right: list[TokenLogprob]
) -> None:
    a, b, both = confidence_of(left), confidence_of(right), confidence_of(left + right)

    for name in ("count", "missing", "censored", "with_candidates", "low"):
        assert getattr(both, name) == getattr(a, name) + getattr(b, name)
    assert max(a.low_longest_run, b.low_longest_run) <= both.low_longest_run
    assert both.low_longest_run <= a.low_longest_run + b.low_longest_run
    if both.sum_logprob is not None:
        parts = [of.sum_logprob for of in (a, b) if of.sum_logprob is not None]
        assert both.sum_logprob == close(math.fsum(parts))
        lowest = [of.min_logprob for of in (a, b) if of.min_logprob is not None]
        assert both.min_logprob == min(lowest)


@given(st.lists(st.floats(-20, 0), min_size=1, max_size=100), st.integers(1, 40))
def test_sliding_windows_are_the_means_of_their_tokens(logprobs: list[float], size: int) -> None:
    width = min(size, len(logprobs))
    expected = [
        math.fsum(logprobs[at : at + width]) / width for at in range(len(logprobs) - width + 1)
    ]

    assert window_means(logprobs, size) == close(expected, abs=1e-9)
