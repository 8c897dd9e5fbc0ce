import { expect, test } from "bun:test";
import { sandbox, until } from "./harness.ts";
import {
	countInotify,
	countKinds,
	listStoreProcesses,
	readPrivateMemory,
	type StoreProcess,
} from "./processes.ts";

test("lists the supervisor and the process of a task, with their states", async () => {
	const box = sandbox();
	const id = await box.run(["sleep", "600"]);
	const { supervisor, pid } = await box.untilTask(
		id,
		(task) => task.process,
		"a start",
	);
	process.kill(pid ?? 0, "SIGSTOP");
	const found = await until(() => {
		const found = listStoreProcesses(box.dir);
		return found.some(({ state }) => state === "T") ? found : undefined;
	}, "a stopped process");
	expect(found).toContainEqual(
		expect.objectContaining({
			pid,
			parent: supervisor?.pid,
			state: "T",
			kind: "other",
			argv: ["sleep", "600"],
		}),
	);
	expect(countKinds(found)).toEqual({ supervisor: 1, parked: 0, other: 1 });
	for (const { rss, pid } of found) {
		expect(rss).toBeGreaterThan(0);
		expect(readPrivateMemory(pid)).toBeGreaterThan(0);
	}
	await box.bg(["cancel", id]);
	expect(readPrivateMemory(pid ?? 0)).toBe(0);
});

const isSleep = ({ argv }: StoreProcess) => argv[0] === "sleep";

test("a shell with a supervisor's mark is parked; what it started is not", async () => {
	const box = sandbox();
	const start = (env: Record<string, string>) =>
		Bun.spawn(["sh", "-c", "sleep 600 & wait"], {
			env: { ...box.env, ...env },
			stdio: ["ignore", "ignore", "ignore"],
		});
	const shells = [
		start({ BG_SUPERVISOR: "1" }),
		start({ BG_TASK_ID: "x" }),
		start({}),
	];
	try {
		const found = await until(() => {
			const found = listStoreProcesses(box.dir);
			return found.filter(isSleep).length === 3 ? found : undefined;
		}, "what the shells start");
		expect(countKinds(found)).toEqual({ supervisor: 0, parked: 1, other: 5 });
	} finally {
		for (const { pid } of listStoreProcesses(box.dir))
			process.kill(pid, "SIGKILL");
		for (const shell of shells) shell.kill("SIGKILL");
	}
});

test("counts the inotify instances of a process", async () => {
	const script = `require("fs").watch("/tmp"); console.log("ready")`;
	const child = Bun.spawn(["node", "-e", script], { stdout: "pipe" });
	try {
		for await (const _ of child.stdout) break;
		expect(countInotify(child.pid)).toBe(1);
	} finally {
		child.kill("SIGKILL");
		await child.exited;
	}
	expect(countInotify(child.pid)).toBe(0);
});
