import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { identifyMachine } from "../../lib/process/machine.ts";
import { queueLock } from "../../lib/store/paths.ts";
import { listTaskIds } from "../../lib/store/records.ts";
import {
	isAlive,
	processesWith,
	program,
	type Sandbox,
	sandbox,
	standIn,
	until,
} from "../tools/harness.ts";
import { lock, send, stopOf } from "../tools/hooks.ts";

type Env = Record<string, string>;

const one = { BG_MAX_RUNNING: "1" };
const unknownId = "bg_19f0c2a4b1c000000";

/** Launches a command and returns its id. */
async function run(
	box: Sandbox,
	command: string[],
	{ flags = [], env = {} }: { flags?: string[]; env?: Env } = {},
): Promise<string> {
	const args = ["run", "-q", ...flags, "a test", "--", ...command];
	const { code, stdout, stderr } = await box.bg(args, { env });
	expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
	return stdout.trim();
}

/** A task that runs until it is let go. */
async function block(box: Sandbox, env: Env = one) {
	const gate = join(box.home, crypto.randomUUID());
	const script = 'until test -e "$0"; do sleep 0.02; done';
	const id = await run(box, ["sh", "-c", script, gate], { env });
	await isRunning(box, id);
	return { id, open: () => writeFileSync(gate, "") };
}

const isRunning = (box: Sandbox, id: string) =>
	box.untilTask(id, ({ status }) => status === "running", "it running");

const isOver = (box: Sandbox, id: string) =>
	box.untilTask(id, (task) => task.completed_at, "its end");

/** Long enough for a supervisor to look at all there is, twice. */
const aWhile = () => Bun.sleep(2500);

const entries = (box: Sandbox, folder: "queue" | "slots") =>
	readdirSync(join(box.dir, `.${folder}`));

/** A task waits for nothing but a place: its supervisor has begun its work. */
const isReady = (box: Sandbox) =>
	until(
		() => entries(box, "queue").some((name) => name.startsWith("ready")),
		"a task that is ready",
	);

const isEmpty = (box: Sandbox) =>
	until(
		() => entries(box, "queue").length + entries(box, "slots").length === 0,
		"no task queued, no place taken",
		() => JSON.stringify([entries(box, "queue"), entries(box, "slots")]),
	);

const linesOf = (path: string): string[] =>
	existsSync(path) ? readFileSync(path, "utf8").trim().split("\n") : [];

function kill(...pids: (number | undefined)[]): void {
	for (const pid of pids) process.kill(pid ?? 0, "SIGKILL");
}

/** Ids of tasks that have a living process, all at one moment. */
function livingTasks(box: Sandbox): Set<string> {
	const marked = processesWith(`BG_DIR=${box.dir}`).flatMap(({ pid }) => {
		try {
			const variables = readFileSync(`/proc/${pid}/environ`, "utf8");
			return { pid, id: /(?:^|\0)BG_TASK_ID=([^\0]*)/.exec(variables)?.[1] };
		} catch {
			return [];
		}
	});
	// Those that still live have all lived together when the last of them was read.
	const living = marked.filter(({ pid }) => isAlive(pid));
	return new Set(living.flatMap(({ id }) => id ?? []));
}

test("of 200 tasks that 20 processes launch at once, never more run than may", async () => {
	const box = sandbox();
	const log = join(box.home, "log");
	const env = { BG_MAX_RUNNING: "4" };
	const task = `echo + >>${log}; sleep 0.05; echo - >>${log}`;
	const line = JSON.stringify({
		description: "one of ten",
		command: ["sh", "-c", task],
	});
	const loop =
		'for n in 0 1 2 3 4 5 6 7 8 9; do "$@" run -q "$n" -- sh -c "$0" || exit; done';
	const launchers = Array.from({ length: 20 }, (_, n) =>
		n % 2
			? box.bg(["launch", "-q", "--batch", "-"], {
					env,
					input: `${line}\n`.repeat(10),
				})
			: box.bg(["-c", loop, task, ...program], { env, argv: ["sh"] }),
	);
	const seen: number[] = [];
	let isWatching = true;
	const watching = (async () => {
		for (; isWatching; await Bun.sleep(5)) seen.push(livingTasks(box).size);
	})();
	try {
		const answers = await Promise.all(launchers);
		expect(answers.map(({ stderr }) => stderr).join("")).toBe("");
		const ids = answers.flatMap(({ stdout }) => stdout.trim().split("\n"));
		expect(new Set(ids).size).toBe(200);
		expect((await box.bg(["wait", ...ids])).code).toBe(0);
		for (const id of ids) expect(box.record(id).status).toBe("completed");
	} finally {
		isWatching = false;
		await watching;
	}
	expect(Math.max(...seen)).toBeWithin(1, 5);
	let running = 0;
	const at = linesOf(log).map((sign) => {
		running += sign === "+" ? 1 : -1;
		return running;
	});
	expect(at).toHaveLength(400);
	expect(Math.max(...at)).toBeWithin(1, 5);
	expect(running).toBe(0);
	await isEmpty(box);
}, 300_000);

test("the higher priority starts first, and of the same one the oldest", async () => {
	const box = sandbox();
	const log = join(box.home, "log");
	const blocker = await block(box);
	const ids: string[] = [];
	for (const priority of [0, -5, 7, 0, 999, 7, -999, 0]) {
		const flags = ["--priority", String(priority)];
		const command = ["sh", "-c", 'echo "$BG_TASK_ID" >>"$0"', log];
		ids.push(await run(box, command, { flags, env: one }));
	}
	blocker.open();
	expect((await box.bg(["wait", ...ids])).code).toBe(0);
	const order = [4, 2, 5, 0, 3, 7, 1, 6].map((n) => ids[n]);
	expect(linesOf(log)).toEqual(order.map(String));
	await isEmpty(box);
});

test("BG_MAX_PER_DROID holds droids of one name; another goes on", async () => {
	const box = sandbox();
	const env = { BG_DROID: standIn, BG_MAX_PER_DROID: "1" };
	const gate = join(box.home, "gate");
	const held = `RUN[until test -e ${gate}; do sleep 0.02; done]`;
	const launch = async (prompt: string, droid: string) => {
		const answer = await box.bg(["launch", "-q", "d", prompt, droid], { env });
		return answer.stdout.trim();
	};
	const first = await launch(held, "worker");
	await isRunning(box, first);
	const second = await launch("SAY[hi]", "worker");
	const other = await launch("SAY[hi]", "explorer");
	const command = await run(box, ["true"], { env });
	expect((await box.bg(["wait", other, command])).code).toBe(0);
	expect(box.record(first).status).toBe("running");
	expect(box.record(second).status).toBe("queued");
	writeFileSync(gate, "");
	expect((await box.bg(["wait", first, second])).code).toBe(0);
	const [before, after] = [box.record(first), box.record(second)];
	expect(`${after.started_at}` >= `${before.completed_at}`).toBe(true);
	await isEmpty(box);
});

test("a limit that is no number refuses the launch by its name", async () => {
	const box = sandbox();
	for (const limit of ["RUNNING", "PER_DROID", "DEPTH", "QUEUED"]) {
		const env = { [`BG_MAX_${limit}`]: "many" };
		const answer = await box.bg(["run", "d", "--", "true"], { env });
		expect(answer.code).toBe(2);
		expect(answer.stderr).toContain(`BG_MAX_${limit} is "many"`);
	}
	expect((await box.bg(["list"])).json().total).toBe(0);
});

test("BG_MAX_DEPTH refuses a launch from deeper", async () => {
	const box = sandbox();
	const env = { BG_MAX_DEPTH: "2", BG_DEPTH: "1" };
	const id = await run(box, ["true"], { env });
	expect(box.record(id).depth).toBe(2);
	const args = ["run", "d", "--", "true"];
	const deeper = await box.bg(args, { env: { ...env, BG_DEPTH: "2" } });
	expect(deeper.code).toBe(111);
	expect(deeper.stderr).toContain("BG_MAX_DEPTH is 2");
	const usual = await box.bg(args, { env: { BG_DEPTH: "3" } });
	expect(usual.code).toBe(111);
	await box.bg(["wait", id]);
	expect((await box.bg(["list"])).json().total).toBe(1);
});

test("BG_MAX_QUEUED refuses what is one too many, all of a batch, and leaves nothing of it", async () => {
	const box = sandbox();
	const env = { ...one, BG_MAX_QUEUED: "2" };
	const blocker = await block(box, env);
	const ids = [await run(box, ["true"], { env })];
	await isReady(box);
	const files = () =>
		[".", ".queue", ".sessions", ".notices"].map((folder) =>
			readdirSync(join(box.dir, folder), { recursive: true }).sort(),
		);
	const before = files();
	const line = `${JSON.stringify({ description: "d", command: ["true"] })}\n`;
	const batch = await box.bg(["launch", "--batch", "-"], {
		env,
		input: line.repeat(2),
	});
	expect(batch.code).toBe(111);
	expect(batch.stderr).toContain(
		"1 tasks are queued, this would add 2, and BG_MAX_QUEUED is 2",
	);
	expect(files()).toEqual(before);
	ids.push(await run(box, ["true"], { env }));
	const third = await box.bg(["run", "d", "--", "true"], { env });
	expect(third.code).toBe(111);
	expect(entries(box, "queue")).toHaveLength(2);
	blocker.open();
	expect((await box.bg(["wait", ...ids])).code).toBe(0);
	expect((await box.bg(["list"])).json().total).toBe(3);
	await isEmpty(box);
});

test.each([
	["another supervisor that took over", true],
	["nobody", false],
])(
	"a place is taken while the process lives, watched by %s",
	async (_, adopts) => {
		const box = sandbox();
		const blocker = await block(box);
		const { supervisor, pid } = box.record(blocker.id);
		const next = await run(box, ["true"], { env: one });
		kill(supervisor?.pid);
		await until(() => !isAlive(supervisor?.pid ?? 0), "its death");
		if (adopts) await box.bg(["list"]);
		await aWhile();
		expect(box.record(next).status).toBe("queued");
		kill(pid);
		expect(await isOver(box, next)).toMatchObject({ status: "completed" });
		expect((await box.bg(["status", blocker.id])).json().reason).toBe("lost");
		await isEmpty(box);
	},
);

test("tasks that wait for tasks they launched do not starve them", async () => {
	const box = sandbox();
	const env = { BG_MAX_RUNNING: "2" };
	const script =
		'id=$("$0" "$@" run -q helper -- sh -c "sleep 0.05; echo helped") && "$0" "$@" wait "$id"';
	const ids = await Promise.all(
		Array.from({ length: 8 }, () =>
			run(box, ["sh", "-c", script, ...program], { env }),
		),
	);
	expect((await box.bg(["wait", ...ids])).code).toBe(0);
	const { total, completed, tasks } = (await box.bg(["list"])).json();
	expect({ total, completed }).toEqual({ total: 16, completed: 16 });
	for (const id of ids) expect(box.record(id).result).toContain("helped");
	expect(tasks).toHaveLength(16);
	await isEmpty(box);
}, 120_000);

test("--after starts once all have completed, and not before", async () => {
	const box = sandbox();
	const [a, b] = [await block(box, {}), await block(box, {})];
	const flags = ["--after", `${a.id},${b.id}`];
	const id = await run(box, ["true"], { flags });
	a.open();
	await isOver(box, a.id);
	await aWhile();
	expect(box.record(id).status).toBe("queued");
	b.open();
	const task = await isOver(box, id);
	expect(task).toMatchObject({ status: "completed", after: [a.id, b.id] });
	const { completed_at } = await isOver(box, b.id);
	expect(`${task.started_at}` >= `${completed_at}`).toBe(true);
	await isEmpty(box);
});

test("what comes after a failure never starts, nor what comes after that", async () => {
	const box = sandbox();
	const a = await block(box, {});
	const made = join(box.home, "made");
	const touch = ["touch", made];
	const b = await run(box, touch, { flags: ["--after", a.id] });
	const c = await run(box, touch, { flags: ["--after", b] });
	kill(box.record(a.id).pid);
	expect((await box.bg(["wait", a.id, b, c])).code).toBe(1);
	const end = { status: "error", reason: "dependency" };
	expect(box.record(b)).toMatchObject(end);
	expect(box.record(b).error).toContain(a.id);
	expect(box.record(c)).toMatchObject(end);
	expect(box.record(c).error).toContain(b);
	expect(box.record(c).started_at).toBeUndefined();
	expect(existsSync(made)).toBe(false);
	// Over already: there is nothing left to wait for.
	const late = await run(box, touch, { flags: ["--after", c] });
	expect((await isOver(box, late)).error).toContain(c);
	await isEmpty(box);
});

test("--after-any starts whatever way they ended", async () => {
	const box = sandbox();
	const failed = await run(box, ["false"]);
	const done = await run(box, ["true"]);
	const blocker = await block(box, {});
	const flags = ["--after-any", [failed, done, blocker.id].join(",")];
	const id = await run(box, ["true"], { flags });
	await box.bg(["wait", failed, done]);
	expect(box.record(id).status).toBe("queued");
	await box.bg(["cancel", blocker.id]);
	expect(await isOver(box, id)).toMatchObject({ status: "completed" });
	await isEmpty(box);
});

test("an end counts as one whoever tells it: complete, a hook, cancel, nobody", async () => {
	const box = sandbox();
	const ends = {
		complete: (id: string) => box.bg(["complete", id, "done"]),
		hook: (id: string) => send(box, stopOf(`${box.record(id).session_id}`)),
		cancel: (id: string) => box.bg(["cancel", id]),
		lost: async (id: string) => {
			const { supervisor, pid } = box.record(id);
			kill(supervisor?.pid, pid);
		},
	};
	const outcomes = Object.values(ends).map(async (end) => {
		const blocker = await block(box, {});
		const after = await run(box, ["true"], { flags: ["--after", blocker.id] });
		const any = await run(box, ["true"], {
			flags: ["--after-any", blocker.id],
		});
		await end(blocker.id);
		const tasks = await Promise.all([isOver(box, after), isOver(box, any)]);
		blocker.open();
		return tasks.map(({ status, reason }) => `${status}: ${reason}`);
	});
	const completed = "completed: exit";
	const never = "error: dependency";
	expect(await Promise.all(outcomes)).toEqual([
		[completed, completed],
		[completed, completed],
		[never, completed],
		[never, completed],
	]);
	await isEmpty(box);
}, 120_000);

test("a queued task may be ended by complete or a hook as well, and never runs", async () => {
	const box = sandbox();
	const blocker = await block(box);
	const made = join(box.home, "made");
	const ids = [
		await run(box, ["touch", made], { env: one }),
		await run(box, ["touch", made], { env: one }),
	];
	const [a = "", b = ""] = ids;
	const after = await run(box, ["true"], { flags: ["--after", ids.join()] });
	await box.bg(["complete", a, "done"]);
	await send(box, stopOf(`${box.record(b).session_id}`));
	expect(await isOver(box, after)).toMatchObject({ status: "completed" });
	blocker.open();
	await isEmpty(box);
	expect(existsSync(made)).toBe(false);
});

test("--after takes tasks that are there, and neither one's own nor those above", async () => {
	const box = sandbox();
	const above = await block(box, {});
	const inside = (id: string) => ({ BG_TASK_ID: id, BG_DEPTH: "1" });
	const own = await run(box, ["true"], { env: inside(above.id) });
	const refused = async (flags: string[], env: Env = {}) => {
		const answer = await box.bg(["run", ...flags, "d", "--", "true"], { env });
		expect(answer.code).toBe(2);
		return answer.stderr;
	};
	for (const flag of ["--after", "--after-any"]) {
		for (const id of [unknownId, "nonsense", `${own},${unknownId}`, ""])
			expect(await refused([flag, id])).toContain(`${flag}:`);
		for (const id of [own, above.id])
			expect(await refused([flag, id], inside(own))).toContain(id);
	}
	await refused(["--after", own, "--after-any", own]);
	above.open();
	await box.bg(["wait", above.id, own]);
	expect((await box.bg(["list"])).json().total).toBe(2);
});

test("a queued task that is cancelled never runs, and others go on", async () => {
	const box = sandbox();
	const blocker = await block(box);
	const made = join(box.home, "made");
	const id = await run(box, ["touch", made], { env: one });
	const next = await run(box, ["true"], { env: one });
	const { tasks } = (await box.bg(["cancel", id])).json();
	expect(tasks).toMatchObject([{ status: "cancelled", cancelled: true }]);
	expect(entries(box, "queue").join()).not.toContain(id);
	blocker.open();
	expect(await isOver(box, next)).toMatchObject({ status: "completed" });
	await isEmpty(box);
	expect(existsSync(made)).toBe(false);
	expect(box.record(id).started_at).toBeUndefined();
});

test("a logout's SIGTERM to the supervisor cancels a queued task", async () => {
	const box = sandbox();
	const blocker = await block(box);
	const id = await run(box, ["true"], { env: one });
	await isReady(box);
	process.kill(box.record(id).supervisor?.pid ?? 0, "SIGTERM");
	expect(await isOver(box, id)).toMatchObject({
		status: "cancelled",
		reason: "shutdown",
	});
	blocker.open();
	await isEmpty(box);
});

test("while the queue is paused nothing starts, and what runs goes on", async () => {
	const box = sandbox();
	const running = await block(box, {});
	const pause = (await box.bg(["pause", "--queue"])).json();
	expect(pause).toEqual({ tasks: [], queue: { paused: true } });
	const id = await run(box, ["true"]);
	running.open();
	expect(await isOver(box, running.id)).toMatchObject({ status: "completed" });
	await aWhile();
	expect(box.record(id).status).toBe("queued");
	const goOn = (await box.bg(["unpause", "--queue"])).json();
	expect(goOn).toEqual({ tasks: [], queue: { paused: false } });
	expect(await isOver(box, id)).toMatchObject({ status: "completed" });
	await isEmpty(box);
});

test.each(["queue", "task"])(
	"a pause of the %s holds even what was about to start",
	async (what) => {
		const box = sandbox();
		await isOver(box, await run(box, ["true"]));
		// As it leaves, it sweeps away what looks like a lock that nobody holds.
		await until(() => box.alive().length === 0, "its supervisor gone");
		const unlock = lock(box, queueLock(identifyMachine().machine));
		const id = await run(box, ["true"]);
		await isReady(box);
		const prepared = () =>
			readdirSync(join(box.dir, ".tmp"), { withFileTypes: true });
		await until(
			() => prepared().some((each) => each.isDirectory()),
			"its supervisor at the lock",
		);
		const held = what === "queue" ? "--queue" : id;
		const pausing = box.bg(["pause", held]);
		await until(
			() =>
				entries(box, "queue").includes("paused") || box.record(id).paused_at,
			"the pause",
		);
		unlock();
		await pausing;
		await aWhile();
		expect(box.record(id).status).toBe("queued");
		await box.bg(["unpause", held]);
		expect(await isOver(box, id)).toMatchObject({ status: "completed" });
		await isEmpty(box);
	},
);

test("a pause harms no supervisor that has only just been started", async () => {
	const box = sandbox();
	await isOver(box, await run(box, ["true"]));
	const before = listTaskIds(box);
	const launching = run(box, ["true"]);
	const id = await until(
		() => listTaskIds(box).find((each) => !before.includes(each)),
		"its record",
	);
	// It comes before the start or after the end; the task is not lost by it either way.
	await box.bg(["pause", id]);
	await launching;
	await box.bg(["unpause", id]);
	expect(await isOver(box, id)).toMatchObject({ status: "completed" });
	await isEmpty(box);
});

test("a queued task that is paused is passed over, though there is room", async () => {
	const box = sandbox();
	const blocker = await block(box);
	const held = await run(box, ["true"], { env: one });
	const next = await run(box, ["true"], { env: one });
	const { tasks } = (await box.bg(["pause", held])).json();
	expect(tasks).toEqual([{ taskId: held, status: "queued", paused: true }]);
	blocker.open();
	expect(await isOver(box, next)).toMatchObject({ status: "completed" });
	await aWhile();
	expect(box.record(held).status).toBe("queued");
	await box.bg(["unpause", held]);
	expect(await isOver(box, held)).toMatchObject({ status: "completed" });
	await isEmpty(box);
});
