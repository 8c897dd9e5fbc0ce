/**
 * The program with a crash point: imports it, and kills itself with SIGKILL right after one of its
 * steps on disk. It runs under Bun, Deno and Node. A supervisor that it starts has a crash point as
 * well, because the program starts itself again by the file it was called by.
 *
 *     CHAOS_PROGRAM  the script to run
 *     CHAOS_CRASH    `verb:12,supervise:30,archive:3`: the step after which the call dies, and its supervisor; and
 *                    the move to the archive after which either dies
 *     CHAOS_NAP      the same for a sleep, in which other processes go first
 *     CHAOS_MEANWHILE
 *                    `verb:12:command`: a shell command that runs from start to end after that step
 *     CHAOS_NAP_LOG  gets a line right before a sleep
 *     CHAOS_FIRE     a file: crashes and sleeps happen as long as it exists
 *     CHAOS_LOG      gets one line of JSON right before a death
 *     CHAOS_CLOCK    how far the clock is ahead, in ms
 */
const { CHAOS_PROGRAM, CHAOS_CRASH = "", CHAOS_LOG } = process.env;
const { CHAOS_NAP_LOG } = process.env;
const { CHAOS_NAP = "", CHAOS_FIRE, CHAOS_CLOCK } = process.env;
const { CHAOS_MEANWHILE = "" } = process.env;
const fs = process.getBuiltinModule("node:fs");
const processes = process.getBuiltinModule("node:child_process");
const { appendFileSync, existsSync } = fs;
const kill = process.kill.bind(process);

const argv = process.argv.slice(2);
const role = argv[0] === "supervise" ? "supervise" : "verb";
const stepIn = (points, of = role) =>
	Number(new RegExp(`${of}:(\\d+)`).exec(points)?.[1] ?? 0);
const deadly = stepIn(CHAOS_CRASH);
const sleepy = stepIn(CHAOS_NAP);
const [, busy, command] = /^verb:(\d+):(.*)$/s.exec(CHAOS_MEANWHILE) ?? [];
const deadlyMove = stepIn(CHAOS_CRASH, "archive");
let steps = 0;
let moves = 0;

/** How long a sleep takes, in ms: long enough for other processes to do their step. */
const nap = 300;

const isFire = () => !CHAOS_FIRE || existsSync(CHAOS_FIRE);

function sleep() {
	if (CHAOS_NAP_LOG) appendFileSync(CHAOS_NAP_LOG, "asleep\n");
	Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, nap);
}

function runMeanwhile() {
	const { CHAOS_MEANWHILE: _, ...env } = process.env;
	appendFileSync(CHAOS_LOG, `${JSON.stringify({ meanwhile: steps })}\n`);
	const options = { env, stdio: ["ignore", "inherit", "inherit"] };
	processes.spawnSync("sh", ["-c", command], options);
}

function die(step, isMove = false) {
	const { pid } = process;
	const line = { pid, role, argv, step, number: steps, isMove };
	appendFileSync(CHAOS_LOG, `${JSON.stringify(line)}\n`);
	kill(pid, "SIGKILL");
	for (;;);
}

/** Adds a crash point after a function; `torn` does half of its work. */
function wrap(module, name, { counts = () => true, torn } = {}) {
	const act = module[name];
	module[name] = function (...args) {
		const step = counts(...args) ? ++steps : -1;
		const isMove = name === "renameSync" && args[1].includes("/.archive/");
		const isDeadly = step === deadly || (isMove && ++moves === deadlyMove);
		const dies = isDeadly && isFire();
		if (dies && torn && deadly % 2) {
			torn(act, args);
			die(`${name}, half of it`);
		}
		try {
			return act.apply(this, args);
		} finally {
			// After a step that fails as well: a loop over all steps would end there.
			if (dies) die(name, isMove);
			if (step === sleepy && isFire()) sleep();
			if (role === "verb" && step === Number(busy)) runMeanwhile();
		}
	};
}

/** Opening to read changes nothing. */
const writes = (_path, flags = "r") =>
	typeof flags === "number" ? (flags & 0o103) !== 0 : flags !== "r";

const halfOf = (data) =>
	typeof data === "string"
		? data.slice(0, data.length / 2)
		: data.subarray(0, data.length / 2);

for (const name of [
	"renameSync",
	"unlinkSync",
	"rmSync",
	"rmdirSync",
	"mkdirSync",
	"linkSync",
	"symlinkSync",
	"chmodSync",
	"truncateSync",
	"ftruncateSync",
	"utimesSync",
	"fsyncSync",
	"fdatasyncSync",
	"closeSync",
])
	wrap(fs, name);
wrap(fs, "openSync", { counts: writes });
for (const name of ["writeFileSync", "appendFileSync"])
	wrap(fs, name, {
		torn: (act, [path, data, ...rest]) => act(path, halfOf(data), ...rest),
	});
wrap(fs, "writeSync", {
	torn(act, [fd, data, offset = 0]) {
		const bytes = Buffer.from(data).subarray(offset ?? 0);
		act(fd, halfOf(bytes));
	},
});
wrap(processes, "spawn");
wrap(process, "kill");
process.getBuiltinModule("node:module").syncBuiltinESMExports?.();

if (CHAOS_CLOCK) {
	const { now } = Date;
	Date.now = () => now() + Number(CHAOS_CLOCK);
}

await import(CHAOS_PROGRAM);
