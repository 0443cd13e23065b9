#!/bin/sh
# Breaks the library on purpose, one line at a time, and checks that some test fails each time.
# Every mutant must find its line, and every promise in docs/promises.md must have a mutant; the
# selected mutants are built and tested.
#   sh spec/support/mutants.sh --check            tests none
#   sh spec/support/mutants.sh [NAME]...          all of them, or those named
#   sh spec/support/mutants.sh --slice I/N        every Nth mutant, starting with number I
#                                                 modulo N; I is hexadecimal, like a commit's hash
set -eu
cd "$(dirname "$0")/../.."
unset LEAT_TEST_KEY LEAT_TEST_SECRET LEAT_TEST_LOGS # tests search all output for these
slice=0 slices=1 mode=test
if [ "${1:-}" = --check ]; then mode=check; fi
if [ "${1:-}" = --slice ]; then
  slices=${2#*/}
  slice=$((0x${2%/*} % slices))
  shift 2
fi
wanted=" $* "
if [ "$mode" = test ]; then
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  git ls-files -z | tar --null -T - -c | tar -x -C "$dir"
  cd "$dir"
fi
LUA=${LUA:-lua5.4}
export CFLAGS='-O1 -g' # no -Werror: a mutant may leave something unused
number=0 caught=0 survived=0

# Runs one C test. A test that cannot be built catches nothing.
c_test() {
  make -s "build/test/$1" && ! timeout 300 "build/test/$1" spec/cases && return 1
  return 0
}

specs() { # specs FLAG...: runs those specs, up to the first that fails
  timeout 300 make -s LUA="$LUA" test-lua BUSTED_FLAGS="--no-keep-going $*"
}

# Runs all tests, up to the first that fails. For C, tests that are named like the changed file
# come first, then those without sockets, which are quick and do not depend on the machine's load;
# only the specs test Lua files. The specs of the command, which start many processes, come last.
all_tests() { # all_tests FILE
  stem=${1##*/}
  stem=${stem%%[._]*}
  case $1 in
    core/*)
      sockets=$(grep -l curl_calls.h spec/core/*_test.c)
      for test in spec/core/"$stem"*_test.c $(grep -L curl_calls.h spec/core/*_test.c) $sockets; do
        if [ -e "$test" ]; then c_test "$(basename "$test" .c)" || return 1; fi
      done
      c_test differential || return 1
      ;;
  esac
  case $1 in
    lua/leat/cli/* | lua/leat_cli.c) ;;
    *) specs --exclude-pattern=cli_ || return 1 ;;
  esac
  specs '--pattern=cli_[%w_]*spec' spec
}

# Runs only random operations, against the model of the documented API.
model_alone() {
  c_test model_test
}
model_over_sockets() {
  LEAT_OPERATIONS=1000 timeout 300 \
    make -s LUA="$LUA" test-lua BUSTED_FLAGS="--filter=random spec/outcomes_spec.lua"
}

# Runs only the promises about items of jobs, in a world that knows what happened.
decide_alone() {
  specs --filter=promise spec/decide_spec.lua
}

# Runs the specs of files and of SQLite, which other specs reach only through jobs.
journal_alone() {
  specs spec/sqlite_spec.lua spec/jobs_files_spec.lua
}

# Runs the specs of CSV and of its columns.
csv_alone() {
  specs spec/csv_spec.lua spec/columns_spec.lua
}

# Runs the specs of jobs, in one process.
jobs_alone() {
  specs spec/jobs_spec.lua
}

# Runs the specs of a limiter whose store is a table in memory.
limiter_alone() {
  specs spec/limiter_spec.lua
}

# Runs the specs of cached finds, in one process.
cache_alone() {
  specs spec/cache_spec.lua
}

# Runs those of caches that the workers of a real nginx share.
cache_in_nginx() {
  timeout 300 make -s LUA="$LUA" test-nginx NGINX_SPECS=spec/nginx/cache_nginx.lua BUSTED_FLAGS=--no-keep-going
}

# Runs those of machines with nginx that share a rate.
fleet_in_nginx() {
  timeout 300 make -s LUA="$LUA" test-nginx NGINX_SPECS=spec/nginx/fleet_nginx.lua BUSTED_FLAGS=--no-keep-going
}

# Runs the specs of metrics and health.
metrics_alone() {
  specs spec/metrics_spec.lua
}

in_postgres() { # in_postgres NAME FLAG...: runs specs with a server of PostgreSQL
  specs=spec/postgres/$1_postgres.lua
  shift
  timeout 300 make -s LUA="$LUA" test-postgres POSTGRES_SPECS="$specs" BUSTED_FLAGS="--no-keep-going $*"
}

# Runs the specs of workers that share a job, in one process.
leases_alone() {
  in_postgres leases
}

# Runs the spec of the rate that several processes share.
rate_alone() {
  in_postgres cli --filter=shares
}

# Checks that no output contains a piece of a key or secret, whatever else fails.
no_leak() {
  ! LUA="$LUA" sh spec/support/canary.sh few 2>&1 | grep 'a piece of a secret stands in'
}

# Runs the specs of the driver in a real nginx, up to the first that fails.
in_nginx() {
  files=$(find spec/nginx -name '*_nginx.lua' | grep -v 'cache_\|fleet_\|metrics_\|examples_' | tr '\n' ' ')
  timeout 300 make -s LUA="$LUA" test-nginx NGINX_SPECS="$files" BUSTED_FLAGS=--no-keep-going
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

# The files that mutants change.
sources=$(find core lua -name '*.[ch]' -o -name '*.lua' ! -name types.lua)

# Prints the file that contains what a sed command s/PATTERN/.../ would replace, so that a mutant
# follows its line to another file. Fails unless there is exactly one.
file_of() { # file_of SED
  pattern=$(printf '%s\n' "$1" | sed 's,^s/\(\(\\.\|[^\\/]\)*\)/.*,\1,; s,\\/,/,g')
  # shellcheck disable=SC2046,SC2086 # names of files, without blanks
  set -- $(grep -l -e "$pattern" $sources)
  echo "$@"
  [ $# = 1 ]
}

# mutant NAME PROMISES SED: the edit must change one file, and must compile; $passes must fail.
# PROMISES are the numbers of the promises in docs/promises.md that the mutant breaks, or "-".
passes=all_tests promised=
mutant() {
  number=$((number + 1))
  promised="$promised,$2,"
  if ! file=$(file_of "$3"); then
    survives "$1" "its line must be in one file, and is in: $file"
    return
  fi
  if ! is_selected "$1"; then return; fi
  cp -p "$file" original
  sed -i "$3" "$file"
  if cmp -s "$file" original; then
    survives "$1" "changes nothing in $file any more"
  elif ! make -s -j2 LUA="$LUA" lua >log 2>&1; then
    cat log
    survives "$1" "does not compile"
  elif $passes "$file" >log 2>&1; then
    survives "$1" SURVIVED
  else
    caught=$((caught + 1))
    # Without the text of the check, which may contain a secret of the tests: the canary would find that.
    caught_by=$(grep -a -m 1 -E 'failed:|Failure ->|Error ->|Sanitizer|Segmentation' log || tail -n 1 log)
    echo "$1: caught: ${caught_by%%: failed:*}"
  fi
  cp original "$file"
}

mutant reuse-after-an-error 3 \
  's/^  if (j->connection) close_connection(curl, j->connection);/  if (j->connection) make_idle(curl, j->connection);/'
mutant token-in-a-message 5 \
  's/^  return length < shortest ? 0 : length;/  return 0 * length;/'
mutant missing-percent-encoding - \
  's/^    if (is_alphanumeric((char)c) || one_of((char)c, "-._~")) {/    if (is_alphanumeric((char)c) || one_of((char)c, "-._~\&+=")) {/'
mutant status-before-code 4 \
  's/^  if (code && !(good && has_data))/  if (code \&\& good \&\& !has_data)/'
mutant depth-limit-off 8 \
  's/r->depth == LEAT_MAX_JSON_DEPTH/r->depth == 9 * LEAT_MAX_JSON_DEPTH/'
mutant verification-off 6 \
  's/CURLOPT_SSL_VERIFYPEER, 1L/CURLOPT_SSL_VERIFYPEER, 0L/'
mutant host-verification-off 6 \
  's/CURLOPT_SSL_VERIFYHOST, 2L/CURLOPT_SSL_VERIFYHOST, 0L/'
mutant body-cap-off-length 8 \
  's/^  if (http->length > http->max_body)/  if (http->length > http->max_body * 8)/'
mutant body-cap-off-chunked 8 \
  's/^    if (http->expected + http->body.length > http->max_body)/    if (http->expected > http->max_body * 8)/'
mutant body-cap-off-close 8 \
  's/^  if (http->body.length > http->max_body)/  if (http->body.length > http->max_body * 8)/'
mutant sent-never 1,4 \
  's/c->job->sent = LEAT_SENT_MAYBE;/c->job->sent = LEAT_SENT_NO;/'
mutant another-value-accepted 4 \
  's/^  if (!leat_same_value(leat_json_string(value), expected))/  if (expected.length == 0)/'
mutant redirects-named-wrongly 6 \
  's/named.length ? named : j->expected->origin/j->expected->origin/'
mutant duplicate-names-accepted 8 \
  's/^      object->repeats = leat__equal(.*/      object->repeats = false;/'
mutant duplicate-names-accepted-among-many 8 \
  's/^    object->repeats = compare_names(.*/    object->repeats = false;/'
mutant a-page-of-a-firewall-is-a-response 4 \
  's/^  else if (is_refusal_by_page(.*/  else if (false) fail_page(j);/'
mutant line-ends-in-headers - \
  's/if ((c < 0x20 \&\& c != .\\t.) || c == 0x7F) return false;/if (c == 0x7F) return false;/'
mutant idle-connections-not-probed 3 \
  's/< MAX_IDLE_MS \&\& is_quiet(c)/< MAX_IDLE_MS/'
mutant idle-connections-probed-by-the-socket 1,3 \
  's/^  return receive_bytes(c, .byte, 1, .n) == CURLE_AGAIN;/  return recv(c->fd, \&byte, 1, MSG_PEEK) < 0 || receive_bytes(c, \&byte, 1, \&n) == CURLE_AGAIN;/'
mutant deadlines-before-data 2 \
  's/^  if (!receive(curl, c)) return;//'
mutant queue-timeout-before-data 2 \
  's/^  if (curl->unread .. first_due(curl, now)) read_all(curl);//'
mutant bytes-past-the-tls-of-a-proxy 1,3 \
  's/^  c->bare = !request->tls .*/  c->bare = !request->tls;/'
mutant an-entry-used-twice 1 \
  's/^  local entry = task.call and {.*/  local entry = task/'
mutant a-kept-call-is-recycled 1 \
  's/^  if (last \&\& unreferenced) recycle(L, 1);/  if (last) recycle(L, 1);/'
mutant a-field-hides-a-method - \
  's/^    if (!push_name(L, member.name) \&\& is_method(.*/    if (push_name(L, member.name), false) {/'
mutant numbers-beyond-int 2 \
  's/^  return number < INT_MAX ? (int)number : INT_MAX;/  return (int)number;/'
mutant retries-not-counted 1 \
  's/math.max(0, attempts - 1)/0/'
mutant calls-of-a-driver-never-end 2 \
  's/^    box->calls--;//'
mutant a-close-interrupted-for-good 2 \
  's/^        watch(entry.driver)//'
mutant transport-clock-on-the-wall 2 \
  's/^  return core.now(), os.time()/  return os.time() * 1000, os.time()/'
mutant child-not-noticed 3 \
  's/^  atomic_fetch_add(\&fork_count, 1);//'
mutant no-verification 4 \
  's/^    default: return LEAT_VERIFY;/    default: return LEAT_SEND_AGAIN;/'
mutant maybe-applied-forgotten 4 \
  's/^  if (error->outcome_unknown) call->maybe_applied = true;/  if (error->outcome_unknown) call->maybe_applied = false;/'
mutant unbounded-retry-after 2 \
  's/^  return delay <= LEAT_LONGEST_WAIT_MS \&\& !too_late/  return !too_late/'
mutant no-jitter 2 \
  's/^  int64_t delay = (int64_t)(random % (uint64_t)(limit + 1));/  int64_t delay = limit + (int64_t)(random \& 0);/'
mutant any-card-accepted 4 \
  's/^  return name_fits \&\& leat__is_owner(/  return name_fits || leat__is_owner(/'
mutant pause-is-call-time 2 \
  's/^  if (call->deadline) call->deadline = leat__add_ms(call->deadline, waited);//'
mutant a-503-told-as-nothing-done 4 \
  's/^  return status != 408 \&\& status >= 300 \&\& status < 500;/  return status != 408 \&\& status >= 300 \&\& status < 504;/'
mutant a-long-pause-forgotten 2 \
  's/^  current->too_long = .*/  current->too_long = false;/'
mutant no-probe-after-a-pause 2 \
  's/^  if (taken) return client->probe == call;/  if (taken) return true;/'
mutant a-probe-waits-for-itself 2 \
  's/^  if (client->probe == call) client->probe = inner;.*//'
mutant queue-timeout-anew-for-each-find 2 \
  's/^  inner->queued_ms = call->queued_ms;//'
mutant sent-again-without-verifying 1 \
  's/^  bool verifies = call->maybe_applied .*/  bool verifies = false;/'
mutant begun-before-and-not-verified 1 \
  's/^      call->maybe_applied \&\& call->sends == 0 .*/      false;/'
mutant one-attempt-does-not-verify-what-explains-its-error 4 \
  's/^  bool repeats = error->outcome_unknown .*/  bool repeats = error != NULL;/'
mutant unsent-and-unverified-is-done 4 \
  's/^  if (!sent) set_unsent_error(call, failure);//'
mutant maybe-applied-lost-by-a-view 1 \
  's/^  if settings.maybe_applied then .*//'
mutant slots-not-given-back 2 \
  's/^  if (slots->free_us == .*) slots->free_us = free_us;//'
mutant a-next-owner-is-ignored 4 \
  's/^  bool same = !desired->owner_known || .*/  bool same = true;/'
mutant ensure-takes-any-contact 4 \
  's/^  if desired.contact_uuid and uuid and not same_value(.*/  if false then/'
mutant pause-not-shared 2 \
  's/^  if (leat__retry_throttled(call->outcome.error.kind)) {/  if (false) {/'
mutant no-lease 2 \
  's/^  if (client->lease \&\& client->lease != holder .*/  if (client->lease \&\& client->lease == NULL)/'
mutant one-find-suffices 4 \
  's/^  bool seen_twice = .*/  bool seen_twice = true;/'
mutant no-time-left-to-verify 2 \
  's/^  return more ? (left + 1) \/ 2 : left;/  return more ? left : left;/'
mutant no-retry-budget 2 \
  's/^  if (client->retry_budget < cost) {/  if (false) {/'
mutant tls-tried-again 6 \
  's/ || kind == LEAT_TLS;$/;/'
mutant attempts-not-counted 1 \
  's/^  error->attempts++;//'
mutant tls-1.1-accepted 6 \
  's/(long)CURL_SSLVERSION_TLSv1_2/(long)CURL_SSLVERSION_TLSv1_0/'
mutant cleartext-accepted 6 \
  's/ || url->loopback || config->allow_http) return true;/ || url) return true;/'
mutant a-full-memory-not-noticed 7 \
  's/^  if (data == NULL) {/  if (data == NULL \&\& capacity == 0) {/'
mutant headers-without-memory 7 \
  's/^  if (grown == NULL) return false;//'
mutant bytes-behind-a-document 8 \
  's/^  return r->at == r->end || fail(r, "something behind.*/  return true;/'
mutant a-poll-that-waits 9 \
  's/^  scheduler.step(0)$/  scheduler.step(0.1)/'
# Mutants of the sandbox, on which the tests rely.
mutant faults-that-do-not-apply - \
  's/if (f == NULL || f->apply) apply(/if (f == NULL) apply(/'
mutant faults-that-always-apply - \
  's/if (f == NULL || f->apply) apply(/apply(/'
mutant no-lag - \
  's/x->now.monotonic_ms - lag_ms/x->now.monotonic_ms/'
mutant secrets-in-the-record 5 \
  's/if (secret) text = masked_secret;/(void)secret;/'

# The command.
mutant command-unknown-is-a-failure 4 \
  's/^  if err.outcome_unknown then$/  if false then/'
mutant command-changes-what-was-not-shown - \
  's/^      expect = contact_of(one.card) or false$/      expect = nil/'
mutant command-does-not-ask - \
  's/^  elseif question and not is_confirmed(context, name, found) then/  elseif false then/'
mutant command-needs-no-yes - \
  's/^  elseif not input.values or not (system.is_terminal(STDIN) and system.is_terminal(STDERR)) then/  elseif false then/'
mutant command-dry-run-changes - \
  's/^    elseif arguments.dry_run then/    elseif false then/'
mutant command-ignores-a-full-disk - \
  's/^  elseif not fine and not self.failed then/  elseif false then/'
mutant command-prints-into-a-connection - \
  's/^  reserve_standard_descriptors();//'
# What an item of a job does next.
passes=decide_alone
mutant decide-takes-the-card-from-its-next-owner 10 \
  's/^  elseif card and same_owner(owner_of(card), item.before.contact_uuid) then/  elseif card then/'
mutant decide-deletes-what-changed - \
  's/^  elseif card and is_unchanged(card, before) or /  elseif card or /'
mutant decide-forgets-an-earlier-request - \
  's/^  local maybe_applied = step.earlier or lost/  local maybe_applied = lost/'
mutant decide-forgets-a-lost-response - \
  's/^  local maybe_applied = step.earlier or lost/  local maybe_applied = step.earlier/'
mutant decide-calls-its-own-card-existing 11 \
  's/^  if outcome == "existed" and last.step.earlier then .*/  if false then/'
mutant decide-sends-before-it-records - \
  's/^  return { action = "record", before = before, earlier = false }/  return send_once(false)/'
mutant decide-sends-again-in-one-attempt - \
  's/{ action = "send", single = true, earlier/{ action = "send", earlier/'
mutant decide-ignores-who-is-expected - \
  's/^  if not is_expected(card, item.arguments) then/  if false then/'
# Bugs of the library and of the sandbox that the model alone must catch.
passes=model_alone
mutant model-no-verification 4 \
  's/^    default: return LEAT_VERIFY;/    default: return LEAT_SEND_AGAIN;/'
mutant model-one-find-suffices 4 \
  's/^  bool seen_twice = .*/  bool seen_twice = true;/'
mutant model-second-find-at-once 4 \
  's/^  LEAT_VERIFY_INTERVAL_MS = 1000,/  LEAT_VERIFY_INTERVAL_MS = 10,/'
mutant model-maybe-applied-forgotten 4 \
  's/^  if (error->outcome_unknown) call->maybe_applied = true;/  if (error->outcome_unknown) call->maybe_applied = false;/'
mutant model-begun-before-and-not-verified 4 \
  's/^      call->maybe_applied \&\& call->sends == 0 .*/      false;/'
mutant model-any-card-accepted 4 \
  's/^  return name_fits \&\& leat__is_owner(/  return name_fits || leat__is_owner(/'
mutant model-next-owner-unlinked 4 \
  's/^  bool same = !desired->owner_known || .*/  bool same = desired != NULL;/'
mutant model-expect-ignored 4 \
  's/^  return (call->owner.set || verifies_first) \&\& /  return verifies_first \&\& /'
mutant model-lost-taken-as-unsent 4 \
  's/= call->op->writes \&\& sent == LEAT_SENT_MAYBE;/= false;/'
mutant model-503-taken-as-proof 4 \
  's/^  return status != 408 \&\& status >= 300 \&\& status < 500;/  return status >= 300 \&\& (status < 500 || status == 503);/'
mutant model-another-card-accepted 4 \
  's/^  if (!leat_same_value(leat_json_string(value), expected))/  if (expected.length == 0)/'
mutant model-wrong-card-in-conflict 4 \
  's/^  take_document(call, verify); .*/  if (leat_call_error(verify)->kind == LEAT_OK) take_document(call, verify);/'
mutant sandbox-creates-what-exists - \
  's/^  if (card_of(x)) leat__sandbox_respond_code(x, 60006);/  if (card_of(x) \&\& !x->route) leat__sandbox_respond_code(x, 60006);/'
mutant sandbox-applies-nothing - \
  's/^  if (f == NULL || f->apply) apply(.*/  (void)record;/'
mutant sandbox-applies-nothing-late - \
  's/^    apply_pending(api, \&p);/    json_decref(p.input);/'
mutant sandbox-links-what-is-linked - \
  's/^  if (is_linked(card)) leat/  if (is_linked(card) \&\& !x->route) leat/'
mutant sandbox-keeps-what-is-deleted - \
  's/^  if (card == NULL) return json_object_del(api->cards, value) == 0;/  if (card == NULL) return true;/'
mutant sandbox-unlinks-with-another-code - \
  's/leat__sandbox_respond_code(x, 60011)/leat__sandbox_respond_code(x, 60014)/'
mutant sandbox-finds-what-is-inactive - \
  's/^  if (card \&\& (!must_be_active || active)) return card;/  if (card || active) return card;/'
mutant sandbox-knows-every-contact - \
  's/ == NULL || contact_of(api, x)) return true;/ == NULL || api) return true;/'
mutant sandbox-names-nothing - \
  's/"name", name ? name : value,/"name", name ? name : "",/'
mutant sandbox-lags-for-nobody - \
  's/^  int lag_ms = reads_past ? f->lag_ms : 0;/  int lag_ms = 0;/'
mutant sandbox-is-never-stale - \
  's/^  if (reads_past \&\& f->past) return/  if (reads_past \&\& f->past == api->cards) return/'
# Bugs for the other model, over sockets and from Lua.
passes=model_over_sockets
mutant sockets-lost-taken-as-unsent 4 \
  's/= call->op->writes \&\& sent == LEAT_SENT_MAYBE;/= false;/'
mutant sockets-keep-what-is-deleted - \
  's/^  if (card == NULL) return json_object_del(api->cards, value) == 0;/  if (card == NULL) return true;/'
# Bugs that print secrets.
passes=no_leak
mutant canary-token-in-a-message 5 \
  's/^  return length < shortest ? 0 : length;/  return 0 * length;/'
mutant canary-secrets-in-the-record 5 \
  's/if (secret) text = masked_secret;/(void)secret;/'
mutant canary-key-in-the-log-of-nginx 5 \
  's/^  local http = table.remove(self.codecs) or core.http1()$/&  ngx.log(ngx.WARN, call:request().headers.Authorization)/'

passes=journal_alone
mutant journal-for-all-to-read - \
  's/O_EXCL | O_CLOEXEC, 0600/O_EXCL | O_CLOEXEC, 0644/'
mutant journal-values-not-copied - \
  's/bind_values(L, box, SQLITE_TRANSIENT)/bind_values(L, box, SQLITE_STATIC)/'
mutant journal-number-rounded - \
  's/^  \*value = (int64_t)number;$/&\n  return true;/'
mutant journal-lock-kept - \
  's/^  reset(box);$//'
mutant file-without-fsync - \
  's/ || fsync(fileno(stream)) != 0//'
mutant file-without-fsync-of-its-folder - \
  's/^  return sync_folder(temporary_name(box));/  return true;/'
mutant file-published-after-an-error - \
  's/^  if (!box->error \&\& (fflush(stream)/  box->error = 0;\n&/'
mutant file-left-behind - \
  's/^    unlink(temporary_name(box));$//'

mutant slices-outside-the-text - \
  's/ || last > (lua_Integer)length)/)/'

passes=csv_alone
mutant csv-damage-costs-the-file - \
  's/^  if (end) r->at = (size_t)(end - r->text) + 1;/  if (end) r->at = r->length;/'
mutant csv-invisible-names-are-plain - \
  's/ || first == 0xCD//'
mutant csv-rows-without-a-contact-are-plain - \
  's/(all->needed == 0 || (plain->given & all->needed))/true/'
mutant csv-values-differ-in-case - \
  "s/capital ? text\[i\] - 'A' + 'a' : text\[i\]/text[i]/"

passes=jobs_alone
mutant csv-shared-columns-are-plain - \
  's/^    if (all->arguments\[column - 1\] != UNUSED) return false;$//'
mutant job-keeps-its-queries-open - \
  's/^  end_queries(self)$//'
mutant job-sends-before-it-settles 10 \
  's/^    ending.due = math.max(ending.due or 0, run.journal:now() + run.settle_ms)$//'
mutant job-forgets-that-it-may-be-applied - \
  's/maybe_applied = coalesce(.6, maybe_applied), /maybe_applied = 0, /'
mutant job-does-not-stop-at-a-refused-key - \
  's/^    run:stop("paused", ending.stop, ending.message)$//'
mutant job-outage-uses-up-rows - \
  's/^  if run.responses > item.mark then/  if true then/'
mutant job-skips-what-was-put-back 10 \
  's/^      run.after = math.min(run.after, item.n - 1)$//'
mutant job-does-not-verify-at-its-end 11 \
  's/^  run.verify_from = last and math.min(last, from) + run.settle_ms or /  run.verify_from = /'
mutant job-takes-other-rows-for-its-own - \
  's/ .. " and " .. same("a.arguments", "b.arguments")$//'
mutant job-leaves-cards-in-the-file - \
  's/pragma secure_delete = on; /pragma secure_delete = off; /'

passes=leases_alone
mutant worker-keeps-what-a-lost-commit-claimed 12 \
  's/^  journal:update_each(GIVE_BACK, "iiii", unknown)$//'
mutant worker-unlinks-what-others-took-over 10,12 \
  's/^    if noted\[i\] then/    if true then/'
mutant worker-sends-after-its-lease 10,12 \
  's/^    ended\[#ended + 1\] = .*$//'
mutant worker-ends-while-others-hold-rows 11,12 \
  's/^    run.exhausted = open_items(run) == 0 and /    run.exhausted = /'
mutant worker-verifies-beside-another 12 \
  's/ or verify_until <= .4)/ or true)/'

mutant worker-counts-what-others-hold 11,12 \
  's/^    if not changed then$/    if false then/'
mutant worker-takes-rows-from-the-living 12 \
  's/\(due is not null and due <= .4\)"$/\1 + 600000"/'

passes=limiter_alone
mutant limiter-uses-slots-of-long-ago 13 \
  's/^  bool missed = .*/  bool missed = now.monotonic_ms < 0;/'
mutant limiter-uses-slots-too-early 13 \
  's/math.ceil(reply.first - self.least_ahead)/math.ceil(reply.first - (self.least_ahead + self.most_ahead) \/ 2)/'
mutant limiter-trusts-a-response-that-is-read-late 13 \
  's/^  return width <= length \/ 2 or .*/  return true/'
mutant limiter-ignores-the-pause-of-others - \
  's/^  if reply.pause then$/  if false then/'

passes=rate_alone
mutant limiter-gives-a-slot-to-two 13 \
  's/greatest(NOW, s.next_us)/NOW/'
mutant command-shares-no-rate 13 \
  's/^  if database and settings.rate then/  if false then/'

passes=cache_alone
mutant cache-keeps-what-a-change-outran 14 \
  's/^  if not self.store:is_current(key, generation) then/  if false then/'
mutant cache-joins-a-find-from-before-a-change 14 \
  's/ and self:is_current(key, flight.generation)$//'
mutant cache-trusts-what-is-seen-after-an-error 14 \
  's/^  self.store:mark("doubt " .. key, self.longest + DOUBT)$//'
mutant cache-ignores-max-age 14 \
  's/^  if not kind or age > max_age or max_age == 0 then/  if not kind then/'
mutant cache-hides-a-wrong-key 14 \
  's/^local outages = {/local outages = { unauthorized = true,/'
mutant cache-keeps-failures 14 \
  's/^  elseif err and results\[err.kind\] then/  elseif err then/'
mutant cache-everyone-probes - \
  's/^  return not self.store:claim("probe", self.longest_refresh)/  return false/'

passes=cache_in_nginx
mutant nginx-cache-joins-a-find-from-before-a-change 14 \
  's/^  if flight and self:is_current(key, flight.generation) and not/  if flight and not/'
mutant nginx-cache-each-worker-asks - \
  's/^  while not self:claim(name, LOCK) do/  while false do/'
mutant nginx-cache-waits-for-a-dropped-timer 2 \
  's/^    if not flight.ended and is_lost(flight, limit) then/    if false then/'

passes=fleet_in_nginx
mutant fleet-gives-a-slot-to-two - \
  's/^else at = at + length end/else at = at end/'
mutant fleet-ignores-a-pause - \
  's/^if pause > 0 then at = math.max(at, now + pause)/if pause > 0 then at = at/'
mutant fleet-each-machine-takes-all - \
  's/, last, us, length \* fleet.machines)/, last, us, length)/'
mutant fleet-shows-a-password 5 \
  's/tostring(why):match("^%u+") or "?")/tostring(why))/'

passes=metrics_alone
mutant calls-not-counted - \
  's/^  counts->ends\[row\]\[error->kind\].calls++;//'
mutant health-forgets-failures - \
  's/^    health->failure_ms = later(now.monotonic_ms, health->success_ms);//'

passes=in_nginx
mutant nginx-verification-off 6 \
  's/socket.sslhandshake, socket, nil, host, true)/socket.sslhandshake, socket, nil, host, false)/'
mutant nginx-one-pool-for-all 6 \
  's/{ pool = "leat " .. origin .. (tls and " verified" or "") }/{ pool = "leat" }/'
mutant nginx-no-deadline 2 \
  's/^  local left = math.max(1, math.ceil(due - ms))/  local left = math.max(30000, due - ms)/'
mutant nginx-names-for-ever 2 \
  's/^  if not to.is_named then/  if true then/'
mutant nginx-guard-outlives-its-call 2 \
  's/left <= 0 and late or coroutine.status(caller) == "dead"/left <= 0 and late/'
mutant nginx-reuse-after-an-error 3 \
  's/not (reusable and may_keep and /not (may_keep and /'
mutant nginx-lease-ends-with-a-request 2 \
  's/and gets_token and get_token_aside or take/and take or take/'
mutant nginx-waiters-not-woken 2 \
  's/^    self.wakeups:post(waiting)/    self.wakeups:post(0)/'
mutant nginx-clock-on-the-wall 2 \
  's/^    moment, moment_ms = ngx.now(), core.now()/    moment, moment_ms = ngx.now(), ngx.now() * 1000/'
mutant nginx-clock-of-before-a-busy-time 2 \
  's/^  now()$//'
mutant nginx-sending-takes-no-time 2 \
  's/^    if clock() ~= before then/    if false then/'
mutant nginx-everyone-gets-a-token 2 \
  's/^  if not self.dict:add(key, mine,/  if not self.dict:set(key, mine,/'
mutant nginx-lock-for-ever 2 \
  's/math.min(self.timeout \/ 2, LOCK)/1000/'
mutant nginx-slots-of-others 2 \
  's/^    if fine or why ~= "exists" then/    if fine or why then/'
mutant nginx-slots-too-close 2 \
  's/taken > 0 and math.min(taken, start) + length or 0/0/'

# Each promise has a mutant.
promises=$(grep -c '^\*\*[0-9]*\. ' docs/promises.md)
for promise in $(seq "$promises"); do
  case $promised in *,"$promise",*) ;; *) survives "promise $promise" "has no mutant" ;; esac
done

if [ "$mode" = check ]; then
  echo "mutants: $number for $promises promises, $survived wrong"
else
  echo "mutants: $caught passed, $survived failed"
fi
[ "$survived" = 0 ]
