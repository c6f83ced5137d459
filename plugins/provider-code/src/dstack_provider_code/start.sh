cd "$DSTACK_CODE_FOLDER"
if [ -z "$dstack_code_server" ] && command -v code-server > /dev/null; then
  # It writes a config file wherever it is told, or into the user's home.
  case $dstack_code_wanted in
    '' | "$(code-server --config "$DSTACK_CODE/unused" --version 2> /dev/null | tail -n 1 | cut -d ' ' -f 1)")
      dstack_code_server=code-server
      ;;
  esac
fi
if [ -z "$dstack_code_server" ]; then
  dstack_code_install "$DSTACK_CACHE/$dstack_code_release"
  dstack_code_server=$DSTACK_CACHE/$dstack_code_release/bin/code-server
fi
command -v "$dstack_code_server" > /dev/null || dstack_code_fail "there is no program $dstack_code_server"
(
  umask 077
  mkdir -p "$DSTACK_CODE/data/User" "$DSTACK_CACHE/code-server-extensions"
  printf 'password: %s\n' ${{ job.token }} > "$DSTACK_CODE/config.yaml"
  echo '{"workbench.startupEditor": "none", "workbench.secondarySideBar.defaultVisibility": "hidden"}' > "$DSTACK_CODE/data/User/settings.json"
)
if [ ${#dstack_code_extensions[@]} != 0 ]; then
  "$dstack_code_server" --config "$DSTACK_CODE/config.yaml" --extensions-dir "$DSTACK_CACHE/code-server-extensions" \
    "${dstack_code_extensions[@]/#/--install-extension=}" ||
    dstack_code_fail "an extension could not be installed: ${dstack_code_extensions[*]}"
fi
# Terminals for people: bash, where nobody has a better one.
case ${SHELL##*/} in sh | '') SHELL=$BASH ;; esac
export SHELL
# VS Code asks a login shell for the environment of terminals, whose PATH is not the job's: not if it was started from one.
export VSCODE_CLI=1
# What code-server would take for its own, had the user or another VS Code set it.
unset PORT PASSWORD HASHED_PASSWORD VSCODE_IPC_HOOK_CLI
export DSTACK_CODE_NODE_OPTIONS=${NODE_OPTIONS-}
export NODE_OPTIONS="--require \"$DSTACK_CODE/door.js\" ${NODE_OPTIONS-}"
# A browser keeps one set of cookies for all ports of this machine, hence the suffix.
exec "$dstack_code_server" --config "$DSTACK_CODE/config.yaml" --auth password --bind-addr "$DSTACK_HOST:$PORT_0" \
  --user-data-dir "$DSTACK_CODE/data" --extensions-dir "$DSTACK_CACHE/code-server-extensions" \
  --session-socket "$DSTACK_CODE/session" --cookie-suffix "$DSTACK_RUN" --disable-telemetry --disable-update-check \
  --disable-workspace-trust --disable-getting-started-override \
  ${dstack_code_idle:+--idle-timeout-seconds "$dstack_code_idle"} "$PWD"
