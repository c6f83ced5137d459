"""Names of runs: `grumpy-zebra-1`. Unique because the run's record is created only if absent."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Final

ADJECTIVES: Final = """
    agile amber ancient brave breezy bright brisk calm candid cheerful chilly clever cosmic crisp curious daring dapper
    dizzy eager early earnest faint fancy fearless fluffy frosty funny gentle giddy glad golden graceful grumpy happy
    hasty honest humble jolly keen kind lively loyal lucky mellow merry mighty misty modest neat nimble odd patient
    placid polite proud quick quiet rapid rusty shiny shy silent silver sleepy smart snappy spicy stormy sturdy sunny
    swift tame tidy tiny vivid warm wild wise witty young zesty
""".split()
ANIMALS: Final = """
    ant badger bat bear beaver bee bison bobcat camel cat cheetah cobra cod condor coyote crab crane crow deer dingo
    dog dolphin donkey dove duck eagle eel elk emu falcon ferret finch fish fly fox frog gecko goat goose gull hare
    hawk heron horse hyena ibex jackal jay koala lark lemur leopard lion lizard llama lynx magpie mole moose moth
    mouse newt octopus orca otter owl panda parrot penguin pig puma quail rabbit ram raven robin seal shark sheep
    sloth snail snake sparrow squid stork swan tiger toad trout turtle walrus wasp whale wolf wombat wren yak zebra
""".split()


def candidates() -> Iterator[str]:
    """Endless names to try, the short ones first."""
    import random

    for tried in count():
        yield f"{random.choice(ADJECTIVES)}-{random.choice(ANIMALS)}-{1 + tried // 8}"  # noqa: S311  not a secret
