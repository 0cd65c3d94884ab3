// graphile-worker: jobs in PostgreSQL, run by Node, with its local queue and its batched completion.
import process from "node:process";

import { Logger, makeWorkerUtils, run, runMigrations } from "graphile-worker";
import pg from "pg";
import { Pool } from "undici";

const PATH = "/v25.0/998877665544332/events";
const HEADERS = { "content-type": "application/json" };
const BATCH = 1_000;

const setting = (name) => Number(process.env[`PEER_${name.toUpperCase()}`]);
const quiet = new Logger(() => (level, message) => {
  if (level === "error" || level === "warning") console.error(message);
});
const database = () => new pg.Pool({ connectionString: process.env.PEER_DATABASE_URL, max: setting("connections") });

function body(number) {
  const hex = number.toString(16).padStart(32, "0");
  const event = {
    event_name: "Purchase",
    event_time: 1_790_000_000 + number,
    event_id: `pbk_${hex}`,
    action_source: "website",
    event_source_url: "https://game.example/lp",
    user_data: {
      fbc: `fb.1.1790000000000.IwAR0benchClick${String(number).padStart(6, "0")}`,
      client_user_agent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36",
    },
    custom_data: { value: 4.99, currency: "EUR" },
  };
  return JSON.stringify({ data: [event] });
}

async function enqueue(count) {
  const pgPool = database();
  await runMigrations({ pgPool, logger: quiet });
  const utils = await makeWorkerUtils({ pgPool, logger: quiet });
  for (let start = 0; start < count; start += BATCH) {
    const part = Array.from({ length: Math.min(BATCH, count - start) }, (_, at) => start + at);
    await utils.addJobs(part.map((number) => ({ identifier: "send", payload: { body: body(number) } })));
  }
  await utils.release();
  await pgPool.end();
}

async function work() {
  const http = new Pool(process.env.PEER_SINK, { connections: setting("concurrency"), pipelining: 1 });
  async function send(payload) {
    const answer = await http.request({ path: PATH, method: "POST", headers: HEADERS, body: payload.body });
    await answer.body.dump();
    if (answer.statusCode !== 200) throw new Error(`HTTP ${answer.statusCode}`);
  }
  const runner = await run({
    pgPool: database(),
    logger: quiet,
    taskList: { send },
    preset: {
      worker: {
        concurrentJobs: setting("concurrency"),
        maxPoolSize: setting("connections"),
        localQueue: { size: setting("prefetch") },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
      },
    },
  });
  await runner.promise;
}

async function left() {
  const pgPool = database();
  const { rows } = await pgPool.query("SELECT count(*)::int AS jobs FROM graphile_worker.jobs");
  console.log(rows[0].jobs);
  await pgPool.end();
}

const [command, count] = process.argv.slice(2);
if (command === "enqueue") await enqueue(Number(count));
else if (command === "work") await work();
else if (command === "left") await left();
else {
  console.error("enqueue N, work or left");
  process.exitCode = 1;
}
