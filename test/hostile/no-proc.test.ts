/**
 * Without /proc, bg reads processes from `ps`, as on macOS. Here /proc is hidden from bg; the `ps` that
 * bg finds sees it again and prints dates in the language of its caller, as on macOS. On Linux, only
 * Node starts without /proc.
 */
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import {
	type CallOptions,
	executable,
	isAlive,
	processesWith,
	root,
	type Sandbox,
	sandbox,
	until,
} from "../tools/harness.ts";

const ps = `#!/bin/sh
# Says dates in German, but in English where it is told to.
case "$LC_ALL" in C) months= ;; *) months='s/Mon/Mo/;s/Tue/Di/;s/Wed/Mi/;s/Thu/Do/;s/Fri/Fr/;s/Sat/Sa/;s/Sun/So/;s/May/Mai/;s/Oct/Okt/;s/Dec/Dez/' ;; esac
said=$(unshare --mount sh -c 'umount /proc && PATH=/usr/bin:/bin exec ps "$@"' ps "$@")
code=$?
printf '%s\n' "$said" | sed "$months"
exit $code
`;

const namespace = [
	"unshare",
	...(process.getuid?.() === 0 ? [] : ["--map-root-user"]),
	"--mount",
];
const hide = 'mount -t tmpfs none /proc && exec "$@"';

/** Calls bg where /proc is hidden, and so for its supervisors. */
function withoutProc(box: Sandbox) {
	const folder = join(box.home, "bin");
	executable(folder, "ps", ps);
	const argv = [
		...namespace,
		"sh",
		"-c",
		hide,
		"sh",
		"node",
		join(root, "dist/bg.mjs"),
	];
	const PATH = `${folder}:${box.env.PATH}`;
	return (args: string[], { env, ...options }: CallOptions = {}) =>
		box.bg(args, { argv, env: { PATH, ...env }, ...options });
}

const auckland = { TZ: "Pacific/Auckland", LC_ALL: "de_DE.UTF-8" };
const newYork = { TZ: "America/New_York", LC_ALL: "C" };

test("without /proc an identity is the same in every time zone and language", async () => {
	const box = sandbox();
	const bg = withoutProc(box);
	const words = ["run", "-q", "d", "--", "sleep", "600"];
	const started = await bg(words, { env: auckland });
	expect(started).toMatchObject({ code: 0, stderr: "" });
	const id = started.stdout.trim();
	const task = await box.untilTask(id, ({ process }) => process, "a start");
	const seconds = Number(task.process?.start);
	expect(
		Math.abs(seconds - Date.parse(task.started_at ?? "") / 1000),
	).toBeLessThan(60);
	for (const env of [auckland, newYork, { TZ: "UTC", LC_ALL: "" }]) {
		const { tasks } = (await bg(["list"], { env })).json();
		expect(tasks).toMatchObject([{ id, status: "running" }]);
		expect(tasks[0].note).toBeUndefined();
	}
	expect(await bg(["cancel", id], { env: newYork })).toMatchObject({ code: 0 });
	expect(isAlive(task.pid ?? 0)).toBe(false);
	expect(box.record(id)).toMatchObject({ status: "cancelled" });
});

test("without /proc the whole tree is found and stopped, with processes that moved or ignore SIGTERM", async () => {
	const box = sandbox();
	const bg = withoutProc(box);
	const script = `setsid sleep 601 & (setsid sleep 604 &); (sleep 602 &) ; env -i sleep 603 & trap "" TERM; while :; do sleep 0.2; done`;
	const words = ["run", "-q", "d", "--", "sh", "-c", script];
	const id = (await bg(words, { env: auckland })).stdout.trim();
	await until(() => processesWith(`BG_TASK_ID=${id}`).length >= 5, "its tree");
	const task = await box.untilTask(id, ({ process }) => process, "a start");
	const bare = childrenOf(task.pid ?? 0);
	expect(bare.length).toBeGreaterThan(1);
	const stranger = Bun.spawn(["sh", "-c", "sleep 600; :", `BG_TASK_ID=${id}`]);
	const answer = await bg(["cancel", id], { env: newYork });
	expect(answer.json().tasks).toMatchObject([
		{ cancelled: true, survivors: [] },
	]);
	expect(processesWith(`BG_TASK_ID=${id}`)).toEqual([]);
	for (const pid of bare) expect(isAlive(pid)).toBe(false);
	// It only speaks of the task.
	expect(isAlive(stranger.pid)).toBe(true);
	for (const pid of [...childrenOf(stranger.pid), stranger.pid])
		process.kill(pid, "SIGKILL");
	await stranger.exited;
});

test("without /proc an orphan gets a new supervisor, and a lost task is marked", async () => {
	const box = sandbox();
	const bg = withoutProc(box);
	const id = (
		await bg(["run", "-q", "d", "--", "sleep", "600"], { env: auckland })
	).stdout.trim();
	const task = await box.untilTask(id, ({ process }) => process, "a start");
	process.kill(task.supervisor?.pid ?? 0, "SIGKILL");
	await until(() => !isAlive(task.supervisor?.pid ?? 0), "its death");
	expect((await bg(["status", id], { env: newYork })).json().status).toBe(
		"running",
	);
	const { supervisor } = box.record(id);
	expect(supervisor?.pid).not.toBe(task.supervisor?.pid);
	for (const pid of [supervisor?.pid, task.pid])
		process.kill(pid ?? 0, "SIGKILL");
	await until(() => box.alive().length === 0, "all gone");
	const pruned = (await bg(["prune"], { env: auckland })).json();
	expect(pruned.tasks).toEqual([{ id, taskId: id, reason: "lost" }]);
	expect(readdirSync(join(box.dir, ".slots"))).toEqual([]);
});

test.each([
	[
		"says why",
		"#!/bin/sh\necho no process left >&2; exit 1\n",
		"no process left",
	],
	["is killed", "#!/bin/sh\nkill -9 $$\n", "SIGKILL"],
])(
	"without /proc a ps that fails and %s makes no task lost",
	async (_, text, why) => {
		const box = sandbox();
		const bg = withoutProc(box);
		const id = (
			await bg(["run", "-q", "d", "--", "sleep", "600"])
		).stdout.trim();
		await box.untilTask(id, ({ process }) => process, "a start");
		executable(join(box.home, "failing"), "ps", text);
		const PATH = `${join(box.home, "failing")}:${box.env.PATH}`;
		for (const verb of ["list", "prune"]) {
			const { code, stdout } = await bg([verb], { env: { PATH } });
			expect({ code, stdout }).toEqual({
				code: 0,
				stdout: expect.stringMatching(new RegExp(`cannot tell.*${why}`)),
			});
		}
		expect(box.record(id).status).toBe("running");
		expect((await bg(["cancel", id])).code).toBe(0);
	},
);

test("without /proc a pid that another process has taken is another identity", async () => {
	const box = sandbox();
	const bg = withoutProc(box);
	const id = (await bg(["run", "-q", "d", "--", "sleep", "600"])).stdout.trim();
	const task = await box.untilTask(id, ({ process }) => process, "a start");
	await bg(["cancel", id]);
	// The start times of ps are in seconds.
	await Bun.sleep(1100);
	const stranger = Bun.spawn(["sleep", "600"]);
	const { process: was, supervisor } = task;
	const record = {
		...task,
		pid: stranger.pid,
		process: { ...was, pid: stranger.pid },
		supervisor: { ...supervisor, pid: stranger.pid },
	};
	await Bun.write(join(box.dir, `${id}.json`), JSON.stringify(record));
	expect((await bg(["cancel", id])).json().tasks).toMatchObject([
		{ status: "error" },
	]);
	expect(isAlive(stranger.pid)).toBe(true);
	stranger.kill();
	await stranger.exited;
});

// --- internal ---

function childrenOf(pid: number): number[] {
	const { stdout } = Bun.spawnSync(["ps", "-o", "pid=", "--ppid", String(pid)]);
	return stdout
		.toString()
		.split("\n")
		.map(Number)
		.filter((each) => each);
}
