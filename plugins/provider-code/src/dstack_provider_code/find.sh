dstack_code_fail() {
  rm -rf "${dstack_code_draft-}"
  echo "dstack: $1" >&2
  exit 1
}

dstack_code_download() { # from $1 to the file $2
  if command -v curl > /dev/null; then
    curl -fsSL --retry 3 -o "$2" "$1"
  elif command -v wget > /dev/null; then
    wget -q -O "$2" "$1"
  else
    "$(command -v python || command -v python3)" -c 'import sys, urllib.request as u; u.urlretrieve(*sys.argv[1:])' "$1" "$2"
  fi
}

dstack_code_digest() { # of the file $1
  if command -v sha256sum > /dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}

dstack_code_install() { # the release into the folder $1, unless it is there
  local os=linux arch url draft digest name
  [ ! -x "$1/bin/code-server" ] || return 0
  [ "$(uname -s)" = Linux ] || os=macos
  case $(uname -m) in
    x86_64 | amd64) arch=amd64 ;;
    aarch64 | arm64) arch=arm64 ;;
    *) arch=$(uname -m) ;;
  esac
  url=${dstack_code_url//'{version}'/$dstack_code_version}
  url=${url//'{os}'/$os}
  url=${url//'{arch}'/$arch}
  echo "dstack: downloading code-server $dstack_code_version" >&2
  mkdir -p "$DSTACK_CACHE"
  draft=$(mktemp -d "$1.XXXXXX")
  dstack_code_draft=$draft # for who fails
  dstack_code_download "$url" "$draft/archive" || dstack_code_fail "code-server cannot be had from $url
hint: is it reached from here? \`url:\` names another place, and a code-server on PATH is taken as it is"
  if [ -n "$dstack_code_sha256" ]; then
    digest=$(dstack_code_digest "$draft/archive")
    [ "$digest" = "$dstack_code_sha256" ] ||
      dstack_code_fail "what is at $url has the SHA-256 $digest, and not $dstack_code_sha256"
  fi
  tar -xzf "$draft/archive" -C "$draft" || dstack_code_fail "what is at $url is no archive of code-server"
  rm "$draft/archive"
  set -- "$1" "$draft"/*/bin/code-server
  [ -x "$2" ] || dstack_code_fail "what is at $url has no bin/code-server in it"
  name=${1##*/}
  mkdir "$draft/made"
  mv "${2%/bin/code-server}" "$draft/made/$name"
  # A rename: whoever sees the folder sees all of it. Of two who come at once, the second finds it there, and fails.
  mv "$draft/made/$name" "${1%/*}/" 2> /dev/null || [ -x "$1/bin/code-server" ]
  rm -rf "$draft"
}
