#!/bin/sh
# Breaks the library on purpose, one line at a time, and checks that some test fails each time.
# Every mutant must still change something; the selected ones are built and tested.
#   sh spec/support/mutants.sh [NAME]...          all of them, or those named
#   sh spec/support/mutants.sh --slice I/N        every Nth mutant, starting with number I
#                                                 modulo N; I is hexadecimal, like a commit's hash
set -eu
cd "$(dirname "$0")/../.."
unset LEAT_TEST_KEY LEAT_TEST_SECRET LEAT_TEST_LOGS # tests search all output for these
slice=0 slices=1
if [ "${1:-}" = --slice ]; then
  slices=${2#*/}
  slice=$((0x${2%/*} % slices))
  shift 2
fi
wanted=" $* "
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
git ls-files -z | tar --null -T - -c | tar -x -C "$dir"
cd "$dir"
LUA=${LUA:-lua5.4}
export CFLAGS='-O1 -g' # no -Werror: a mutant may leave something unused
number=0 caught=0 survived=0

# Runs one C test. A test that cannot be built catches nothing.
c_test() {
  make -s "build/test/$1" && ! timeout 120 "build/test/$1" spec/cases && return 1
  return 0
}

# Runs all tests, up to the first that fails. For C, tests that are named like the changed file
# come first; only the specs test Lua files.
all_tests() { # all_tests FILE
  stem=${1##*/}
  stem=${stem%%[._]*}
  case $1 in
    core/*)
      for test in spec/core/"$stem"*_test.c spec/core/*_test.c; do
        if [ -e "$test" ]; then c_test "$(basename "$test" .c)" || return 1; fi
      done
      c_test differential || return 1
      ;;
  esac
  timeout 120 make -s LUA="$LUA" test-lua BUSTED_FLAGS=--no-keep-going
}

# Runs only random operations, against the model of the documented API.
model_alone() {
  c_test model_test
}
model_over_sockets() {
  LEAT_OPERATIONS=1000 timeout 120 \
    make -s LUA="$LUA" test-lua BUSTED_FLAGS="--filter=random spec/outcomes_spec.lua"
}

# Checks that no output contains a piece of a key or secret, whatever else fails.
no_leak() {
  ! LUA="$LUA" sh spec/support/canary.sh 2>&1 | grep 'a piece of a secret stands in'
}

# Runs the specs in a real nginx, up to the first that fails.
in_nginx() {
  timeout 300 make -s LUA="$LUA" test-nginx BUSTED_FLAGS=--no-keep-going
}

is_selected() {
  case $wanted in
    '  ') [ $((number % slices)) = "$slice" ] ;;
    *" $1 "*) return 0 ;;
    *) return 1 ;;
  esac
}
survives() { # survives NAME WHY
  echo "$1: $2"
  survived=$((survived + 1))
}

# mutant NAME FILE SED: the edit must change FILE, and must compile; $passes must fail.
passes=all_tests
mutant() {
  number=$((number + 1))
  cp -p "$2" original
  sed -i "$3" "$2"
  if cmp -s "$2" original; then
    survives "$1" "changes nothing in $2 any more"
  fi
  if cmp -s "$2" original || ! is_selected "$1"; then
    mv original "$2" # keeps the old time stamp, so that make does not rebuild
    return
  elif ! make -s -j2 LUA="$LUA" lua >log 2>&1; then
    cat log
    survives "$1" "does not compile"
  elif $passes "$2" >log 2>&1; then
    survives "$1" SURVIVED
  else
    caught=$((caught + 1))
    echo "$1: caught: $(grep -m 1 -E 'failed:|Failure ->|Error ->|Sanitizer|Segmentation' log || tail -n 1 log)"
  fi
  cp original "$2"
}

mutant reuse-after-an-error core/curl/curl.c \
  's/^  if (j->connection) close_connection(curl, j->connection);/  if (j->connection) make_idle(curl, j->connection);/'
mutant token-in-a-message core/error.c \
  's/^  return length < shortest ? 0 : length;/  return 0 * length;/'
mutant missing-percent-encoding core/url.c \
  's/^    if (is_alphanumeric((char)c) || one_of((char)c, "-._~")) {/    if (is_alphanumeric((char)c) || one_of((char)c, "-._~\&+=")) {/'
mutant status-before-code core/response.c \
  's/^  if (code && !(good && has_data))/  if (code \&\& good \&\& !has_data)/'
mutant depth-limit-off core/json.c \
  's/r->depth == LEAT_MAX_JSON_DEPTH/r->depth == 9 * LEAT_MAX_JSON_DEPTH/'
mutant verification-off core/curl/curl.c \
  's/CURLOPT_SSL_VERIFYPEER, 1L/CURLOPT_SSL_VERIFYPEER, 0L/'
mutant host-verification-off core/curl/curl.c \
  's/CURLOPT_SSL_VERIFYHOST, 2L/CURLOPT_SSL_VERIFYHOST, 0L/'
mutant body-cap-off-length core/http1.c \
  's/^  if (http->length > http->max_body)/  if (http->length > http->max_body * 8)/'
mutant body-cap-off-chunked core/http1.c \
  's/^    if (http->expected + http->body.length > http->max_body)/    if (http->expected > http->max_body * 8)/'
mutant body-cap-off-close core/http1.c \
  's/^  if (http->body.length > http->max_body)/  if (http->body.length > http->max_body * 8)/'
mutant sent-never core/curl/curl.c \
  's/c->job->sent = LEAT_SENT_MAYBE;/c->job->sent = LEAT_SENT_NO;/'
mutant another-value-accepted core/response.c \
  's/^  if (!leat_same_value(leat_json_string(value), expected))/  if (expected.length == 0)/'
mutant redirects-named-wrongly core/response.c \
  's/named.length ? named : j->expected->origin/j->expected->origin/'
mutant duplicate-names-accepted core/json.c \
  's/^      object->repeats = leat__equal(.*/      object->repeats = false;/'
mutant duplicate-names-accepted-among-many core/json.c \
  's/^    object->repeats = compare_names(.*/    object->repeats = false;/'
mutant a-page-of-a-firewall-is-an-answer core/response.c \
  's/^  else if (is_refusal_by_page(.*/  else if (false) fail_page(j);/'
mutant line-ends-in-headers core/headers.c \
  's/if ((c < 0x20 \&\& c != .\\t.) || c == 0x7F) return false;/if (c == 0x7F) return false;/'
mutant idle-connections-not-probed core/curl/curl.c \
  's/< MAX_IDLE_MS \&\& is_quiet(c)/< MAX_IDLE_MS/'
mutant idle-connections-probed-by-the-socket core/curl/curl.c \
  's/^  return receive_bytes(c, .byte, 1, .n) == CURLE_AGAIN;/  return recv(c->fd, \&byte, 1, MSG_PEEK) < 0 || receive_bytes(c, \&byte, 1, \&n) == CURLE_AGAIN;/'
mutant deadlines-before-data core/curl/curl.c \
  's/^  if (!receive(curl, c)) return;//'
mutant patience-before-data core/curl/curl.c \
  's/^  if (curl->unread .. first_due(curl, now)) read_all(curl);//'
mutant bytes-past-the-tls-of-a-proxy core/curl/curl.c \
  's/^  c->bare = !request->tls .*/  c->bare = !request->tls;/'
mutant an-entry-used-twice lua/leat/scheduler.lua \
  's/^  local entry = task.call and {.*/  local entry = task/'
mutant a-kept-call-is-recycled lua/call.c \
  's/^  if (last \&\& unreferenced) recycle(L, 1);/  if (last) recycle(L, 1);/'
mutant a-field-hides-a-method lua/push.c \
  's/^    if (!push_name(L, member.name) \&\& is_method(.*/    if (push_name(L, member.name), false) {/'
mutant numbers-beyond-int lua/options.c \
  's/^  return number < INT_MAX ? (int)number : INT_MAX;/  return (int)number;/'
mutant retries-not-counted lua/leat/each.lua \
  's/math.max(0, attempts - 1)/0/'
mutant calls-of-a-driver-never-end lua/leat_curl.c \
  's/^    box->calls--;//'
mutant a-close-interrupted-for-good lua/leat/scheduler.lua \
  's/^        watch(entry.driver)//'
mutant transport-clock-on-the-wall lua/leat/transport.lua \
  's/^  return core.now(), os.time()/  return os.time() * 1000, os.time()/'
mutant child-not-noticed core/curl/curl.c \
  's/^  atomic_fetch_add(\&fork_count, 1);//'
mutant no-verification core/retry.c \
  's/^    default: return LEAT_VERIFY;/    default: return LEAT_SEND_AGAIN;/'
mutant doubt-forgotten core/machine.c \
  's/^  if (error->outcome_unknown) call->maybe_applied = true;/  if (error->outcome_unknown) call->maybe_applied = false;/'
mutant unbounded-retry-after core/machine.c \
  's/^  return delay <= LEAT_LONGEST_WAIT_MS \&\& !too_late/  return !too_late/'
mutant no-jitter core/retry.c \
  's/^  int64_t delay = (int64_t)(random % (uint64_t)(limit + 1));/  int64_t delay = limit + (int64_t)(random \& 0);/'
mutant anything-adopted core/retry.c \
  's/^  return name_fits \&\& leat__is_owner(/  return name_fits || leat__is_owner(/'
mutant pause-is-call-time core/machine.c \
  's/^  if (call->deadline) call->deadline = leat__add_ms(call->deadline, waited);//'
mutant a-503-told-as-nothing-done core/response.c \
  's/^  return status != 408 \&\& status >= 300 \&\& status < 500;/  return status != 408 \&\& status >= 300 \&\& status < 504;/'
mutant a-long-pause-forgotten core/client.c \
  's/^  current->too_long = .*/  current->too_long = false;/'
mutant no-probe-after-a-pause core/machine.c \
  's/^  if (taken) return client->probe == call;/  if (taken) return true;/'
mutant a-probe-waits-for-itself core/machine.c \
  's/^  if (client->probe == call) client->probe = inner;.*//'
mutant patience-anew-for-each-find core/machine.c \
  's/^  inner->queued_ms = call->queued_ms;//'
mutant sent-again-without-a-look core/machine.c \
  's/^  bool verifies = call->maybe_applied .*/  bool verifies = false;/'
mutant slots-not-given-back core/slots.c \
  's/^  if (slots->free_us == free_us + slots->length_us) slots->free_us = free_us;//'
mutant a-next-owner-is-ignored core/retry.c \
  's/^  bool same = !desired->owner_known || .*/  bool same = true;/'
mutant ensure-takes-any-contact lua/leat/ensure.lua \
  's/^    local wrong = contradiction(.*/    local wrong = nil/'
mutant pause-not-told core/machine.c \
  's/^  if (leat__retry_throttled(call->outcome.error.kind)) {/  if (false) {/'
mutant no-lease core/token.c \
  's/^  if (client->lease \&\& client->lease != holder .*/  if (client->lease \&\& client->lease == NULL)/'
mutant one-look-suffices core/machine.c \
  's/^  bool seen_twice = .*/  bool seen_twice = true;/'
mutant no-time-left-to-look core/machine.c \
  's/^  return more ? (left + 1) \/ 2 : left;/  return more ? left : left;/'
mutant no-quota-of-retries core/machine.c \
  's/^  if (client->retry_budget < cost) {/  if (false) {/'
mutant tls-tried-again core/retry.c \
  's/ || kind == LEAT_TLS;$/;/'
# Mutants of the sandbox, on which the tests rely.
mutant faults-that-do-not-apply core/sandbox/api.c \
  's/if (f == NULL || f->apply) apply(/if (f == NULL) apply(/'
mutant faults-that-always-apply core/sandbox/api.c \
  's/if (f == NULL || f->apply) apply(/apply(/'
mutant no-lag core/sandbox/api.c \
  's/x->now.monotonic_ms - lag_ms/x->now.monotonic_ms/'
mutant secrets-in-the-record core/sandbox/record.c \
  's/if (secret) text = masked_secret;/(void)secret;/'

# Bugs of the library and of the sandbox that the model alone must catch.
passes=model_alone
mutant model-no-verification core/retry.c \
  's/^    default: return LEAT_VERIFY;/    default: return LEAT_SEND_AGAIN;/'
mutant model-one-find-suffices core/machine.c \
  's/^  bool seen_twice = .*/  bool seen_twice = true;/'
mutant model-second-find-at-once core/internal.h \
  's/^  LEAT_VERIFY_INTERVAL_MS = 1000,/  LEAT_VERIFY_INTERVAL_MS = 10,/'
mutant model-doubt-forgotten core/machine.c \
  's/^  if (error->outcome_unknown) call->maybe_applied = true;/  if (error->outcome_unknown) call->maybe_applied = false;/'
mutant model-anything-adopted core/retry.c \
  's/^  return name_fits \&\& leat__is_owner(/  return name_fits || leat__is_owner(/'
mutant model-next-owner-unlinked core/retry.c \
  's/^  bool same = !desired->owner_known || .*/  bool same = desired != NULL;/'
mutant model-expect-ignored core/machine.c \
  's/^  if (call->owner.set \&\& !call->compared) {/  if (false) {/'
mutant model-lost-taken-as-unsent core/machine.c \
  's/= call->op->writes \&\& sent == LEAT_SENT_MAYBE;/= false;/'
mutant model-503-taken-as-proof core/response.c \
  's/^  return status != 408 \&\& status >= 300 \&\& status < 500;/  return status >= 300 \&\& (status < 500 || status == 503);/'
mutant model-another-card-accepted core/response.c \
  's/^  if (!leat_same_value(leat_json_string(value), expected))/  if (expected.length == 0)/'
mutant model-wrong-card-in-conflict core/machine.c \
  's/^  take_document(call, verify); .*/  if (leat_call_error(verify)->kind == LEAT_OK) take_document(call, verify);/'
mutant sandbox-creates-what-exists core/sandbox/operations.c \
  's/^  if (card_of(x)) leat__sandbox_respond_code(x, 60006);/  if (card_of(x) \&\& !x->route) leat__sandbox_respond_code(x, 60006);/'
mutant sandbox-applies-nothing core/sandbox/api.c \
  's/^  if (f == NULL || f->apply) apply(.*/  (void)record;/'
mutant sandbox-applies-nothing-late core/sandbox/api.c \
  's/^    apply_pending(api, \&p);/    json_decref(p.input);/'
mutant sandbox-links-what-is-linked core/sandbox/operations.c \
  's/^  if (is_linked(card)) leat/  if (is_linked(card) \&\& !x->route) leat/'
mutant sandbox-keeps-what-is-deleted core/sandbox/state.c \
  's/^  if (card == NULL) return json_object_del(api->cards, value) == 0;/  if (card == NULL) return true;/'
mutant sandbox-unlinks-with-another-code core/sandbox/operations.c \
  's/leat__sandbox_respond_code(x, 60011)/leat__sandbox_respond_code(x, 60014)/'
mutant sandbox-finds-what-is-inactive core/sandbox/operations.c \
  's/^  if (card \&\& (!must_be_active || active)) return card;/  if (card || active) return card;/'
mutant sandbox-knows-every-contact core/sandbox/operations.c \
  's/ == NULL || contact_of(api, x)) return true;/ == NULL || api) return true;/'
mutant sandbox-names-nothing core/sandbox/state.c \
  's/"name", name ? name : value,/"name", name ? name : "",/'
mutant sandbox-lags-for-nobody core/sandbox/api.c \
  's/^  int lag_ms = reads_past ? f->lag_ms : 0;/  int lag_ms = 0;/'
mutant sandbox-is-never-stale core/sandbox/api.c \
  's/^  if (reads_past \&\& f->past) return/  if (reads_past \&\& f->past == api->cards) return/'
# Bugs for the other model, over sockets and from Lua.
passes=model_over_sockets
mutant sockets-lost-taken-as-unsent core/machine.c \
  's/= call->op->writes \&\& sent == LEAT_SENT_MAYBE;/= false;/'
mutant sockets-keep-what-is-deleted core/sandbox/state.c \
  's/^  if (card == NULL) return json_object_del(api->cards, value) == 0;/  if (card == NULL) return true;/'
# Bugs that print secrets.
passes=no_leak
mutant canary-token-in-a-message core/error.c \
  's/^  return length < shortest ? 0 : length;/  return 0 * length;/'
mutant canary-secrets-in-the-record core/sandbox/record.c \
  's/if (secret) text = masked_secret;/(void)secret;/'
mutant canary-key-in-the-log-of-nginx lua/leat/nginx.lua \
  's/^  local http = table.remove(self.codecs) or core.http1()$/&  ngx.log(ngx.WARN, call:request().headers.Authorization)/'

passes=in_nginx
mutant nginx-verification-off lua/leat/nginx.lua \
  's/socket.sslhandshake, socket, nil, host, true)/socket.sslhandshake, socket, nil, host, false)/'
mutant nginx-one-pool-for-all lua/leat/nginx.lua \
  's/{ pool = "leat " .. origin .. (tls and " verified" or "") }/{ pool = "leat" }/'
mutant nginx-no-deadline lua/leat/nginx.lua \
  's/^  local left = math.max(1, math.ceil(due - ms))/  local left = math.max(30000, due - ms)/'
mutant nginx-names-for-ever lua/leat/nginx.lua \
  's/^  if not to.is_named then/  if true then/'
mutant nginx-guard-outlives-its-call lua/leat/nginx.lua \
  's/left <= 0 and late or coroutine.status(caller) == "dead"/left <= 0 and late/'
mutant nginx-reuse-after-an-error lua/leat/nginx.lua \
  's/not (reusable and may_keep and /not (may_keep and /'
mutant nginx-lease-ends-with-a-request lua/leat/nginx.lua \
  's/and gets_token and get_token_aside or take/and take or take/'
mutant nginx-waiters-not-woken lua/leat/nginx.lua \
  's/^    self.wakeups:post(waiting)/    self.wakeups:post(0)/'
mutant nginx-clock-on-the-wall lua/leat/nginx.lua \
  's/^    moment, moment_ms = ngx.now(), core.now()/    moment, moment_ms = ngx.now(), ngx.now() * 1000/'
mutant nginx-clock-of-before-a-busy-time lua/leat/nginx.lua \
  's/^  now()$//'
mutant nginx-sending-takes-no-time lua/leat/nginx.lua \
  's/^    if clock() ~= before then/    if false then/'
mutant nginx-everyone-gets-a-token lua/leat/nginx_shared.lua \
  's/^  if not self.dict:add(key, mine,/  if not self.dict:set(key, mine,/'
mutant nginx-lock-for-ever lua/leat/nginx_shared.lua \
  's/math.min(self.timeout \/ 2, LOCK)/1000/'
mutant nginx-slots-of-others lua/leat/nginx_shared.lua \
  's/^    if fine or why ~= "exists" then/    if fine or why then/'
mutant nginx-slots-too-close lua/leat/nginx_shared.lua \
  's/taken > 0 and math.min(taken, start) + length or 0/0/'

echo "mutants: $caught passed, $survived failed"
[ "$survived" = 0 ]
