"""The user's own config, `config.yaml` in `$DSTACK_HOME`. Nothing of it ever comes from the repository that is run."""
