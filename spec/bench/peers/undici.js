// A peer: undici, the HTTP client of Node. So many requests at a time over as many
// connections; the answers are decoded, and kept.
//    undici.js N [IN_FLIGHT]         NODE_PATH says where undici is
"use strict";
const fs = require("fs");
const { Pool } = require("undici");

const n = Number(process.argv[2]), inFlight = Number(process.argv[3] || 1);
const base = new URL(process.env.LEAT_BASE_URL), value = process.env.BENCH_VALUE;
const pool = new Pool(base.origin, { connections: inFlight, connect: { ca: fs.readFileSync(process.env.BENCH_CA) } });
const headers = {
  authorization: "Bearer " + process.env.LEAT_API_KEY,
  accept: "application/json",
  "user-agent": "leat/0.1.0",
};
const path = base.pathname + "/contact-identifiers/find?contact_identifier_value=";

let asked = 0;
const found = [];
async function work() {
  while (asked < n) {
    asked++;
    const { statusCode, body } = await pool.request({ path: path + encodeURIComponent(value), method: "GET", headers });
    if (statusCode !== 200) throw new Error("HTTP " + statusCode);
    found.push((await body.json()).data);
  }
}

async function main() {
  await Promise.all(Array.from({ length: Math.min(n, inFlight) }, work));
  await pool.close();
  if (found.length !== n || found.some((card) => card.value !== value)) throw new Error("not what was asked for");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
