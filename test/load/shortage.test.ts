/** Descriptors and processes that run out: what starts is recorded to its end, or nothing is. */
import { expect, test } from "bun:test";
import { chownSync, mkdirSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { listTaskIds } from "../../lib/store/records.ts";
import { isFinal } from "../../lib/task/states.ts";
import {
	program,
	root,
	type Sandbox,
	sandbox,
	until,
} from "../tools/harness.ts";
import { handOver } from "../tools/namespaces.ts";
import { isReady } from "../tools/queue.ts";

const forms = [
	program,
	["node", join(root, "dist/bg.mjs")],
	["deno", "run", "-A", join(root, "dist/bg.mjs")],
];

/** Calls bg under a limit of the shell's (`ulimit -n`, `-u`), as whoever `before` makes it. */
const limited = (
	flag: string,
	most: number,
	form: string[],
	before: string[] = [],
) => [
	...before,
	"sh",
	"-c",
	`ulimit ${flag} ${most} && exec "$@"`,
	"sh",
	...form,
];

/** What a launch that may have failed has left. */
async function expectAllOrNothing(box: Sandbox, argv: string[]): Promise<void> {
	const before = listTaskIds(box);
	const { code, stdout, error } = await box.bg(
		["run", "-q", "d", "--", "true"],
		{ argv },
	);
	const id = stdout.trim();
	if (code === 0) {
		await until(() => box.alive().length === 0, "its supervisor gone");
		await box.bg(["status", id]);
		expect(isFinal(box.record(id))).toBe(true);
		return;
	}
	await until(() => box.alive().length === 0, "nobody left");
	expect(listTaskIds(box)).toEqual(before);
	// A runtime that cannot even start says what it likes.
	if (code === 111) expect(error).toMatch(/^bg: .*\n$/);
}

const leftIn = (box: Sandbox) =>
	[".tmp", ".locks", ".queue", ".slots", ".launches"]
		.flatMap((name) => readdirSync(join(box.dir, name)))
		.filter((name) => !/^(swept|swept-session|archived)$/.test(name));

test.each(forms)(
	"a launch that is short of descriptors is whole or is none: %s",
	async (...form) => {
		const box = sandbox();
		for (const most of [8, 12, 16, 20, 24, 28, 32, 48, 64])
			await expectAllOrNothing(box, limited("-n", most, form));
		await box.bg(["prune"]);
		expect(leftIn(box)).toEqual([]);
	},
);

test.each(forms)(
	"a verb that is short of descriptors takes nobody for dead: %s",
	async (...form) => {
		const box = sandbox();
		const id = await box.run(["sleep", "600"]);
		await box.untilTask(id, ({ process }) => process, "a start");
		const before = box.state(id);
		for (const most of [6, 7, 8, 10, 12, 16, 20, 22, 24, 28])
			for (const verb of ["list", "prune"])
				await box.bg([verb], { argv: limited("-n", most, form) });
		expect(box.state(id)).toEqual(before);
		await box.bg(["cancel", id]);
	},
);

/** A user of few processes: limits of processes mean nothing to root. */
const uid = process.getuid?.() || 64998;

/** How many processes and threads a user has. */
function countThreads(): number {
	const { stdout } = Bun.spawnSync([
		"ps",
		"-L",
		"-o",
		"lwp=",
		"-U",
		String(uid),
	]);
	return stdout
		.toString()
		.split("\n")
		.filter((line) => line).length;
}

/** A task that waits behind another one, under a supervisor that will have too little of something. */
async function waiting(form: string[]) {
	const box = sandbox();
	const user = handOver(box, uid);
	const argv = [...user, ...form];
	const env = { BG_MAX_RUNNING: "1" };
	const first = await box.run(["sleep", "600"], { argv, env });
	await box.untilTask(first, ({ process }) => process, "a start");
	const id = await box.run(["true"], { argv, env });
	// It has begun to wait: what a runtime needs to start is there.
	await isReady(box);
	const limit = (what: string) => {
		const pid = box.record(id).supervisor?.pid;
		const words = [...user, "prlimit", `--pid=${pid}`, `--${what}:`];
		expect(Bun.spawnSync(words).exitCode).toBe(0);
	};
	const begin = () => box.bg(["cancel", first], { argv });
	return { box, argv, id, limit, begin };
}

test.each(forms)(
	"a task whose supervisor has no process left for it says so: %s",
	async (...form) => {
		const { box, argv, id, limit, begin } = await waiting(form);
		limit("nproc=1");
		await begin();
		await box.bg(["wait", id], { argv });
		const { status, reason, error } = box.record(id);
		expect(status).toBe("error");
		// A runtime that needs another thread at that moment aborts.
		if (reason !== "lost")
			expect([reason, error]).toEqual([
				"spawn",
				expect.stringMatching(/^never started: .*(EAGAIN|temporarily)/),
			]);
	},
);

test.each(forms)(
	"a task whose supervisor has no descriptor left for it waits until there are some: %s",
	async (...form) => {
		const { box, id, limit, begin } = await waiting(form);
		limit("nofile=4");
		await begin();
		// At least one poll, which cannot start it.
		await Bun.sleep(1500);
		expect(box.record(id).status).toBe("queued");
		limit("nofile=1024");
		expect(await box.untilTask(id, isFinal, "an end")).toMatchObject({
			status: "completed",
			exit_code: 0,
		});
	},
);

test.each(forms)(
	"a launch that is short of processes is whole or is none: %s",
	async (...form) => {
		const box = sandbox();
		const isRoot = process.getuid?.() === 0;
		const user = isRoot
			? ["setpriv", `--reuid=${uid}`, "--regid=65534", "--clear-groups"]
			: [];
		mkdirSync(box.dir, { mode: 0o700 });
		if (isRoot)
			for (const path of [box.dir, box.home, dirname(box.dir)])
				chownSync(path, uid, 65534);
		const sleeping = await box.run(["sleep", "600"], {
			argv: [...user, ...form],
		});
		await box.untilTask(sleeping, ({ process }) => process, "a start");
		const before = box.state(sleeping);
		const few = (most: number) =>
			limited("-u", countThreads() + most, form, user);
		for (const most of [1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32]) {
			await box.bg(["prune"], { argv: few(most) });
			expect(box.state(sleeping)).toEqual(before);
			const { code, stdout, error } = await box.bg(
				["run", "-q", "d", "--", "true"],
				{ argv: few(most) },
			);
			if (code === 111) expect(error).toMatch(/^bg: .*\n$/);
			const others = () =>
				box
					.alive()
					.filter(
						({ pid }) => pid !== before.pid && pid !== before.supervisor?.pid,
					);
			await until(
				() => others().length === 0,
				"nobody left",
				() => JSON.stringify(others()),
			);
			const id = stdout.trim();
			if (code === 0)
				await box.bg(["status", id], { argv: [...user, ...form] });
			if (code === 0) expect(isFinal(box.record(id))).toBe(true);
		}
		await box.bg(["cancel", sleeping], { argv: [...user, ...form] });
		await box.bg(["prune"], { argv: [...user, ...form] });
		expect(leftIn(box)).toEqual([]);
	},
);
