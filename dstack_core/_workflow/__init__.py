"""Workflow files: YAML with places, the checks, `${{ }}` templates.

`load` reads, `resolve` checks and applies the command line, `options` says what that may be, `template` is for the
runner, `project` finds the folder. yaml and pydantic are imported by `source` and `schema` only, and those late.
"""
