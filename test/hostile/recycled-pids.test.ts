/**
 * Pids that others have by now. In a pid namespace of its own the test says which pid comes next, so
 * a stranger truly gets the pid of a task, and nobody may signal it. (Unprivileged namespaces may be
 * forbidden; the last test needs none: there a record names a living pid with another start.)
 */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Identity } from "../../lib/task/schema.ts";
import {
	isAlive,
	program,
	type Sandbox,
	sandbox,
	until,
} from "../tools/harness.ts";
import { pidNamespace } from "../tools/namespaces.ts";

/** A sandbox whose bg runs in a pid namespace, and what can be done to pids there. */
async function inNamespace() {
	const box = sandbox();
	const enter = await pidNamespace();
	const argv = [...enter, ...program];
	const bg = async (...args: string[]) => {
		const answer = await box.bg(args, { argv });
		if (answer.code === null) throw new Error(answer.error);
		return answer;
	};
	const shell = (script: string) =>
		Bun.spawnSync([...enter, "sh", "-c", script])
			.stdout.toString()
			.trim();
	const start = async (...flags: string[]) => {
		const words = ["run", "-q", ...flags, "d", "--", "sleep", "600"];
		const id = (await bg(...words)).stdout.trim();
		return box.untilTask(id, ({ process }) => process, "a start");
	};
	const exists = (pid: number) =>
		shell(`test -e /proc/${pid} && echo yes`) === "yes";
	/** Ends processes, and waits until their pids are free. */
	const bury = async (...who: (Identity | undefined)[]) => {
		for (const each of who) shell(`kill -9 ${each?.pid}`);
		for (const each of who)
			await until(() => !exists(each?.pid ?? 0), "a pid that is free");
	};
	/** Starts a stranger that has a pid; it is not of the sandbox. */
	const haunt = (who: Identity | undefined) => {
		const pid = who?.pid ?? 0;
		const script = `for n in 1 2 3 4 5 6 7 8 9; do
			echo ${pid - 1} >/proc/sys/kernel/ns_last_pid; sleep 600 >/dev/null 2>&1 & test $! = ${pid} && exit; kill $!
		done; exit 1`;
		shell(script);
		expect(commandOf(pid)).toBe("sleep 600");
	};
	const commandOf = (pid: number) =>
		shell(`tr '\\0' ' ' </proc/${pid}/cmdline 2>/dev/null`);
	const signal = (who: Identity | undefined, name: string) =>
		shell(`kill -${name} ${who?.pid}`);
	/** Whether it handles SIGTERM; see proc(5), SigCgt. */
	const listens = (who: Identity | undefined) => {
		const caught = shell(`sed -n 's/^SigCgt:.//p' /proc/${who?.pid}/status`);
		return (BigInt(`0x${caught || 0}`) >> 14n) & 1n;
	};
	return { box, bg, start, bury, haunt, commandOf, signal, listens };
}

const verbs = [
	["cancel", (id: string) => ["cancel", id]],
	["cancel --signal KILL", (id: string) => ["cancel", "--signal", "KILL", id]],
	["pause", (id: string) => ["pause", id]],
	["prune", () => ["prune"]],
	["prune --ttl", () => ["prune", "--ttl", "0s"]],
	["list", () => ["list"]],
	["wait", (id: string) => ["wait", id]],
	["cleanup --delete", () => ["cleanup", "--delete", "--older-than", "0s"]],
] as const;

test("strangers that got the pids of a task and of its supervisor are left alone by every verb", async () => {
	const { box, bg, start, bury, haunt, commandOf } = await inNamespace();
	for (const [name, argsOf] of verbs) {
		const { id, process, supervisor } = await start();
		await bury(supervisor, process);
		haunt(process);
		haunt(supervisor);
		await bg(...argsOf(id));
		for (const who of [process, supervisor])
			expect([name, commandOf(who?.pid ?? 0)]).toEqual([name, "sleep 600"]);
		if (name !== "cleanup --delete")
			expect([name, box.record(id).reason]).toEqual([name, "lost"]);
		await bury(process, supervisor);
	}
});

test.each([
	["cancel", [], (id: string) => ["cancel", id]],
	["its timeout", ["--timeout", "10s"], (id: string) => ["wait", id]],
	["its supervisor's end", [], () => []],
] as const)(
	"a supervisor that took over signals no stranger that got its task's pid: %s",
	async (_, flags, argsOf) => {
		const { box, bg, start, bury, haunt, commandOf, signal, listens } =
			await inNamespace();
		const task = await start(...flags);
		await bury(task.supervisor);
		await bg("status", task.id);
		const { supervisor } = box.record(task.id);
		expect(supervisor?.pid).not.toBe(task.supervisor?.pid);
		await until(() => listens(supervisor), "a supervisor that listens");
		// It looks once a second; held, it cannot see what happens to the pid.
		signal(supervisor, "STOP");
		await bury(task.process);
		haunt(task.process);
		const args = argsOf(task.id);
		const answer = args.length ? bg(...args) : undefined;
		if (!answer) signal(supervisor, "TERM");
		await Bun.sleep(500);
		signal(supervisor, "CONT");
		await answer;
		await box.untilTask(
			task.id,
			({ status }) => status !== "running",
			"an end",
		);
		expect(commandOf(task.pid ?? 0)).toBe("sleep 600");
	},
);

/** A record that names a living process by its pid, and by another's start. */
async function mistaken(box: Sandbox, pid: number) {
	const id = await box.run(["sleep", "600"]);
	const task = await box.untilTask(id, ({ process }) => process, "a start");
	await box.bg(["cancel", id]);
	const { process, supervisor, stop: _, ...rest } = task;
	const wrong = {
		...rest,
		status: "running",
		pid,
		process: { ...process, pid },
		supervisor: { ...supervisor, pid },
	};
	writeFileSync(join(box.dir, `${id}.json`), JSON.stringify(wrong));
	return id;
}

test("a process that has a record's pid and another start is left alone by every verb", async () => {
	const box = sandbox();
	const stranger = Bun.spawn(["sleep", "600"]);
	for (const [name, argsOf] of verbs) {
		const id = await mistaken(box, stranger.pid);
		await box.bg([...argsOf(id)]);
		expect([name, isAlive(stranger.pid)]).toEqual([name, true]);
	}
	stranger.kill();
	await stranger.exited;
});
