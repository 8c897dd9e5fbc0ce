/** Single system calls that fail, found by `npm run faults`. */
import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { addMessage } from "../../lib/store/sessions/messages.ts";
import { markSessionDue } from "../../lib/store/sessions/notices.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import { type Fault, failing, failOnce } from "../tools/faults.ts";
import {
	linesOf,
	program,
	type Sandbox,
	sandbox,
	until,
} from "../tools/harness.ts";
import {
	addEnd,
	child,
	send as hook,
	parent,
	payload,
	toolUse,
} from "../tools/hooks.ts";
import { addDroid } from "../tools/messages.ts";
import { block, isOver, isRunning, one, parkOne, run } from "../tools/queue.ts";

/** How many calls of a name a hook makes at most. */
const calls = [1, 2, 3, 4, 5];

/** An argv whose n-th call of that name fails. */
const failingAt = (name: string, n: number) => [
	...failing({ calls: name, error: "EIO", when: String(n) }),
	...program,
];

const times = (words: string, texts: string[]) =>
	texts.join("\n").split(words).length - 1;

concurrentTest.each(["unlink", "rename"])(
	"a hook whose %s fails once gives each notice once",
	async (name) => {
		for (const n of calls) {
			const box = sandbox();
			const ids = [addEnd(box, parent), addEnd(box, parent)];
			const argv = failingAt(name, n);
			const first = await hook(box, toolUse(parent), { argv });
			expect(first).toMatchObject({ code: 0, stderr: "" });
			const second = await hook(box, payload("SessionStart", parent));
			const texts = [first.stdout, second.stdout];
			for (const id of ids) expect(times(`- ${id} `, texts)).toBe(1);
		}
	},
);

concurrentTest(
	"a hook whose rename fails once gives each message once",
	async () => {
		for (const n of calls) {
			const box = sandbox();
			const id = addDroid(box);
			addMessage(box, id, "msg", { from: { by: "person" }, text: "words" });
			markSessionDue(box, child);
			const env = { BG_TASK_ID: id };
			const argv = failingAt("rename", n);
			const first = await hook(box, toolUse(child), { argv, env });
			expect(first).toMatchObject({ code: 0, stderr: "" });
			const stop = payload("Stop", child, { stop_hook_active: false });
			const second = await hook(box, stop, { env });
			expect(times("> words", [first.stdout, second.stdout])).toBe(1);
		}
	},
);

concurrentTest(
	"a given file that the machine cannot read is no error of the user",
	async () => {
		const box = sandbox();
		const path = join(box.home, "given");
		writeFileSync(path, "words");
		const argv = [
			...failing({ calls: "read,pread64", path, error: "EIO" }),
			...program,
		];
		for (const flags of [
			["--batch", path],
			["d", "--prompt-file", path],
		]) {
			const answer = await box.bg(["launch", ...flags], { argv });
			expect(answer).toMatchObject({ code: 111 });
			expect(answer.error).toContain(`${path}: EIO`);
		}
	},
);

concurrentTest(
	"a deletion that fails halfway names the task, and the next one deletes what is left",
	async () => {
		const box = sandbox();
		const [first, second] = [addEnd(box, parent), addEnd(box, parent)];
		await Bun.sleep(2);
		const argv = failingAt("unlink", 4);
		const call = ["cleanup", "--delete", "--older-than", "0s"];
		const answer = await box.bg(call, { argv });
		expect(answer.code).toBe(111);
		const { deleted, kept } = answer.json();
		const named = [...deleted, ...kept.map(({ id }: { id: string }) => id)];
		expect(named.sort()).toEqual([first, second].sort());
		expect(kept).toEqual([
			expect.objectContaining({
				note: expect.stringContaining("may be deleted in part"),
			}),
		]);
		expect((await box.bg(call)).json().deleted).toEqual([kept[0].id]);
		expect((await box.bg(["list", "--all"])).json().total).toBe(0);
	},
);

concurrentTest(
	"a supervisor that cannot open the store at once tries again",
	async () => {
		const box = sandbox();
		const id = await runUnder(box, {
			calls: "statx,lstat,newfstatat",
			path: join(box.dir, ".slots"),
			error: "EIO",
			when: "1",
		});
		expect(box.record(id).status).toBe("completed");
	},
);

concurrentTest(
	"a task that the runtime kills when it starts it is not said to have never started",
	async () => {
		const box = sandbox();
		const id = await runUnder(box, unwatchable);
		const error = expect.stringMatching(/^killed when it was started: EMFILE/);
		expect(box.record(id)).toMatchObject({ status: "error", error });
	},
);

concurrentTest.each([
	["SIGURG", "completed"],
	["SIGCONT", "completed"],
	["SIGTERM", "cancelled"],
] as const)(
	"a parked shell that gets %s twice becomes a supervisor all the same",
	async (signal, status) => {
		const box = sandbox();
		const { blocker, id, shell } = await park(box);
		const slow = { calls: "faccessat,faccessat2", delay_enter: 100_000 };
		const looked = await failOnce(box, shell, slow);
		// The first one wakes it; the next ones come while it looks whether bg is there, and while that starts.
		const send = () => {
			try {
				process.kill(shell, signal);
			} catch {
				// It has ended.
			}
		};
		const sender = setInterval(send, 20);
		try {
			await looked();
			blocker.open();
			await isOver(box, id);
		} finally {
			clearInterval(sender);
		}
		expect(box.record(id)).toMatchObject({ status });
	},
);

concurrentTest(
	"an --on-end that cannot be started at once is tried again",
	async () => {
		const box = sandbox();
		const fault = { calls: "vfork", error: "EAGAIN", when: "1" };
		const { id, followed } = await endUnder(box, fault);
		await until(() => followed().length, "its on-end");
		expect(followed()).toEqual([id]);
	},
);

concurrentTest(
	"an --on-end is tried again by a supervisor that ends at once",
	async () => {
		const box = sandbox();
		const log = join(box.home, "log");
		// The first one starts the task.
		const fault = { calls: "vfork", error: "EAGAIN", when: "2" };
		const flags = ["--on-end", `echo "$BG_ENDED_ID" >>${log}`];
		const id = await runUnder(box, fault, flags);
		// Another launch may have been cancelled.
		const followed = () => linesOf(log).filter((line) => line === id);
		await until(() => followed().length, "its on-end");
		expect(followed()).toEqual([id]);
	},
);

concurrentTest(
	"an --on-end that the runtime kills when it starts it is not started again",
	async () => {
		const box = sandbox();
		const { id, followed } = await endUnder(box, unwatchable);
		const log = join(box.dir, ".supervisor.log");
		await until(() => linesOf(log).length, "the fault");
		expect(linesOf(log)).toEqual([
			expect.stringContaining(`${id} --on-end: EMFILE`),
		]);
		await until(() => box.alive().length === 0, "no supervisor");
		expect(followed().length).toBeLessThanOrEqual(1);
	},
);

/** Bun kills a process that it cannot watch; by then, this one has run for a second. */
const unwatchable = {
	calls: "pidfd_open",
	error: "EMFILE",
	delay_enter: 1_000_000,
	when: "1",
};

/** Runs a task whose supervisor has that fault, from the shell on that it is at first. Returns its id. */
async function runUnder(
	box: Sandbox,
	fault: Fault,
	flags: string[] = [],
): Promise<string> {
	const { blocker, id, shell } = await park(box, flags);
	const failed = await failOnce(box, shell, fault);
	blocker.open();
	await isOver(box, id);
	await failed();
	return id;
}

/** A task that waits as a shell: the second in line behind a running one. */
async function park(box: Sandbox, flags: string[] = []) {
	const blocker = await block(box);
	await run(box, ["true"], { env: one });
	const launch = () => run(box, ["true"], { env: one, flags });
	const id = await parkOne(box, launch);
	const { supervisor } = box.record(id);
	return { blocker, id, shell: supervisor?.pid ?? 0 };
}

/** Ends a task with an --on-end, whose supervisor has that fault from its start on. */
async function endUnder(box: Sandbox, fault: Fault) {
	const [log, gate] = [join(box.home, "log"), join(box.home, "gate")];
	const flags = ["--on-end", `echo "$BG_ENDED_ID" >>${log}`];
	const script = 'until test -e "$0"; do sleep 0.2; done';
	const id = await run(box, ["sh", "-c", script, gate], { flags });
	const { supervisor } = await isRunning(box, id);
	const failed = await failOnce(box, supervisor?.pid ?? 0, fault);
	writeFileSync(gate, "");
	await failed();
	return { id, followed: () => linesOf(log) };
}
