-- The tables of the journal. Each entry migrates a journal by one version; entries that were released never change.
return {
  [[
  create table meta (version integer not null);
  insert into meta values (0);
  create table job (
    id integer primary key autoincrement,
    name text not null, operation text not null,
    account text not null, base_url text not null,
    file text, header blob, columns text,
    state text not null, reason text, verifier integer, verify_until integer,
    rows integer not null default 0,
    done integer not null default 0, failed integer not null default 0, unknown integer not null default 0,
    rejected integer not null default 0, skipped integer not null default 0,
    requests integer not null default 0, fence integer not null default 0,
    created integer not null, finished integer);
  create table item (
    job integer not null, n integer not null, line integer, given integer,
    card text, arguments text, bytes blob, state text not null,
    attempt integer not null default 0, crashes integer not null default 0,
    tries integer not null default 0, mark integer not null default 0,
    fence integer, worker integer, due integer, maybe_applied integer not null default 0, before text,
    outcome text, kind text, code integer, message text, requests integer not null default 0, at integer,
    seen text, changed text, verified integer,
    primary key (job, n)) without rowid;
  create index item_waiting on item (job, state, due) where due is not null;
  create table event (job integer not null, n integer, at integer not null, worker integer, fence integer,
    what text not null);
  create table worker (
    id integer primary key autoincrement, job integer not null, host text, pid integer, started integer not null,
    seen integer not null, lease integer not null, stop text);
  ]],
}
