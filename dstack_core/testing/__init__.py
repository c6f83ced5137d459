"""Conformance suites: what core relies on, as tests that any plugin can run against itself.

They need pytest: `pip install dstack-core[testing]`. Subclass the suite in a test module of yours and override its
fixtures; pytest then runs every test of the suite against your implementation:

    from dstack_core.testing.provider import ProviderSuite

    class TestHello(ProviderSuite):
        @pytest.fixture
        def provider(self):
            return HelloProvider()

        examples = ({"greeting": "hi"},)
        invalid = ({"greting": "hi"},)

Say `pytest.register_assert_rewrite("dstack_core.testing")` in your conftest.py to see values when a test fails.

One module for each capability: `provider`, `backend`, `artifact_store`, `secret_store`, `executor`. Abilities that the
contract leaves open (a `Supports...` protocol, an attribute `supports_...` of the suite) skip the tests that need them.
"""
