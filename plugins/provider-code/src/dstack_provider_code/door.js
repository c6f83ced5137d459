// Loaded into code-server before anything of its own: one page more, which fills in the login form with the token
// behind the `#` of its address. It knows no secret: code-server itself says whether the token is right.
"use strict";
const http = require("http");

const PATH = "/dstack-login";
const PAGE = `<!doctype html><meta charset="utf-8"><title>Opening VS Code</title>
<form method="post" action="login"><input type="hidden" name="password"></form>
<script>
  const token = location.hash.slice(1);
  history.replaceState(null, "", "login");
  if (token) {
    document.forms[0].password.value = token;
    document.forms[0].submit();
  } else location.replace("login");
</script>`;

if (process.env.CODE_SERVER_PARENT_PID) {
  // The process that serves. What it starts, terminals among it, has what the user had.
  const before = process.env.DSTACK_CODE_NODE_OPTIONS;
  delete process.env.DSTACK_CODE_NODE_OPTIONS;
  if (before) process.env.NODE_OPTIONS = before;
  else delete process.env.NODE_OPTIONS;

  const emit = http.Server.prototype.emit;
  http.Server.prototype.emit = function (event, request, response) {
    if (event !== "request" || request.method !== "GET" || request.url.split("?")[0] !== PATH) {
      return emit.apply(this, arguments);
    }
    response.writeHead(200, {
      "content-type": "text/html",
      "cache-control": "no-store",
      "referrer-policy": "no-referrer",
      "content-security-policy": "default-src 'none'; script-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
    });
    response.end(PAGE);
    return true;
  };
}
