"""dstack: ML pipelines in YAML, on this machine or in your own cloud account.

Modules without an underscore are the contract for plugin authors; `_`-modules may change any day.
"""

__version__ = "0.1.0"
