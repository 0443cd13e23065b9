/*
** Does with libpq alone what turns.lua does: a transaction stores 16 results and claims 16
** rows, with the statements that leat.jobs executes, written by hand.
**
**   turns_loop ADDRESS JOB    prints how many rows it processed in a second
*/
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 16, DIGITS = 24 };

typedef struct batch {
  int count;
  char n[BATCH][DIGITS];
  char fence[DIGITS];
} batch;

static PGresult *run(PGconn *connection, const char *sql, int count,
                     const char *const *values) {
  PGresult *result = PQexecParams(connection, sql, count, NULL, values, NULL, NULL, 0);
  ExecStatusType status = PQresultStatus(result);
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return result;
  fprintf(stderr, "%s%s\n", PQerrorMessage(connection), sql);
  exit(1);
}

static void execute(PGconn *connection, const char *sql, int count,
                    const char *const *values) {
  PQclear(run(connection, sql, count, values));
}

/* Executes an update of the rows of a batch; `head` and `tail` enclose their numbers,
** which are parameters from $4 on. */
static void update(PGconn *connection, const char *head, const char *tail,
                   const char *const first[3], const batch *rows) {
  char sql[1024];
  const char *values[3 + BATCH] = {first[0], first[1], first[2]};
  int at = snprintf(sql, sizeof sql, "%s", head);
  if (rows->count == 0) return;
  for (int i = 0; i < rows->count; i++) {
    values[3 + i] = rows->n[i];
    at += snprintf(sql + at, sizeof sql - (size_t)at, "%s($%d::bigint)", i ? ", " : "",
                   4 + i);
  }
  snprintf(sql + at, sizeof sql - (size_t)at, "%s", tail);
  execute(connection, sql, 3 + rows->count, values);
}

static void copy(char *to, const PGresult *from, int row, int column) {
  snprintf(to, DIGITS, "%s", PQgetvalue(from, row, column));
}

static void begin(PGconn *connection, char now[DIGITS]) {
  execute(connection, "begin isolation level read committed", 0, NULL);
  PGresult *result =
      run(connection,
          "select cast(floor(extract(epoch from clock_timestamp()) * 1000) as bigint), "
          "set_config('lock_timeout', '8000', true), "
          "set_config('idle_in_transaction_session_timeout', '5000', true), "
          "set_config('synchronous_commit', 'on', true)",
          0, NULL);
  copy(now, result, 0, 0);
  PQclear(result);
}

static void finish(PGconn *connection, const char *job, const char *now,
                   const batch *rows) {
  char count[DIGITS];
  update(connection, "with v (n) as (values ",
         ") update item set state = 'done', due = null, maybe_applied = 0, "
         "outcome = 'created', requests = requests + 1, at = $3::bigint from v "
         "where job = $1 and item.n = v.n and fence = $2 and state = 'claimed' "
         "returning v.n",
         (const char *[]){job, rows->fence, now}, rows);
  snprintf(count, sizeof count, "%d", rows->count);
  execute(connection,
          "update job set done = done + $2, requests = requests + $2, fence = fence + 1 "
          "where id = $1 returning done, failed, unknown, requests",
          2, (const char *[]){job, count});
}

#define COLUMNS                                                                          \
  "select n, line, card, arguments, bytes, attempt, crashes, tries, mark, "              \
  "maybe_applied, before, state from item where job = $1 "

static void claim(PGconn *connection, const char *job, const char *now, const char *after,
                  batch *rows) {
  char due[DIGITS];
  execute(connection,
          COLUMNS
          "and state = 'later' and due <= $2 and crashes < 2 order by due limit 16",
          2, (const char *[]){job, now});
  PGresult *result =
      run(connection, COLUMNS "and n > $2 and state = 'ready' order by n limit 16", 2,
          (const char *[]){job, after});
  rows->count = PQntuples(result);
  for (int i = 0; i < rows->count; i++)
    copy(rows->n[i], result, i, 0);
  PQclear(result);
  snprintf(due, sizeof due, "%lld", atoll(now) + 60000);
  update(connection, "with v (n) as (values ",
         ") update item set state = 'claimed', attempt = attempt + 1, fence = $2, "
         "due = $3::bigint, worker = 1 from v where job = $1 and item.n = v.n "
         "returning v.n",
         (const char *[]){job, rows->fence, due}, rows);
}

/* Returns how many rows it claimed. */
static int turn(PGconn *connection, const char *job, char *after, batch *rows) {
  char now[DIGITS];
  begin(connection, now);
  PGresult *result = run(connection,
                         "select j.fence, w.stop, j.columns from job j "
                         "left join worker w on w.id = 1 where j.id = $1 for update of j",
                         1, (const char *[]){job});
  finish(connection, job, now, rows);
  snprintf(rows->fence, DIGITS, "%lld", atoll(PQgetvalue(result, 0, 0)) + 1);
  PQclear(result);
  claim(connection, job, now, after, rows);
  execute(connection, "commit", 0, NULL);
  if (rows->count > 0) snprintf(after, DIGITS, "%s", rows->n[rows->count - 1]);
  return rows->count;
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  batch rows = {0};
  char after[DIGITS] = "0";
  int done = 0;
  if (argc != 3) return 2;
  PGconn *connection = PQconnectdb(argv[1]);
  if (PQstatus(connection) != CONNECTION_OK) {
    fprintf(stderr, "%s", PQerrorMessage(connection));
    return 1;
  }
  snprintf(rows.fence, DIGITS, "0");
  double began = seconds();
  for (int count; (count = turn(connection, argv[2], after, &rows)) > 0;)
    done += count;
  printf("%.1f\n", done / (seconds() - began));
  PQfinish(connection);
  return done > 0 ? 0 : 1;
}
