/**
 * Two users and one store, two pid namespaces and one store, and a user who reads /proc. What needs a second user
 * needs root: without it, those tests say that they are left out.
 */
import { expect } from "bun:test";
import {
	chmodSync,
	existsSync,
	lstatSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	renameSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { isFinal } from "../../lib/task/states.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import {
	type CallOptions,
	isAlive,
	program,
	sandbox,
	standIn,
	until,
} from "../tools/harness.ts";
import { handOver, pidNamespace } from "../tools/namespaces.ts";
import { countKinds, listStoreProcesses } from "../tools/processes.ts";
import { parkOne } from "../tools/queue.ts";

const isRoot = process.getuid?.() === 0;

/** Runs a test that needs a second user; without root it is said to be left out. */
const testWithUsers = (title: string, act: () => Promise<void>) =>
	concurrentTest(title, async () => {
		if (isRoot) await act();
		else console.log(`left out without root: ${title}`);
	});

/** Another user than the store's owner. */
const strangerUid = 65533;
const stranger = [
	"setpriv",
	...[`--reuid=${strangerUid}`, `--regid=${strangerUid}`, "--clear-groups"],
];

/** A shell command that waits for a file, and leaves with a code. */
const waitFor = (file: string, code = 0) => [
	"sh",
	"-c",
	`until [ -e ${file} ]; do sleep 0.2; done; exit ${code}`,
];

/** Every file below a folder that belongs to root. Processes that use it may rename and remove some meanwhile. */
const ofRoot = (dir: string) => {
	const find = ["find", dir, "-ignore_readdir_race"];
	const { stdout } = Bun.spawnSync([...find, "-uid", "0"], {
		stderr: "ignore",
	});
	return stdout.toString().split("\n").filter(Boolean);
};

testWithUsers(
	"root reads a store in use, is refused by one sentence what would change it, and its owner goes on",
	async () => {
		const box = sandbox();
		const argv = [...handOver(box), ...program];
		const env = { BG_MAX_RUNNING: "1" };
		const go = join(box.home, "go");
		const owner = { argv, env };
		const first = await box.run(waitFor(go, 3), owner);
		await box.untilTask(first, ({ process }) => process, "a start");
		const next = await box.run(["true"], owner);
		const last = await box.run(["true"], owner);
		// Root waits while its owner's tasks end.
		const waiting = box.bg(["wait", first, next, last]);
		for (const args of [
			["list"],
			["report"],
			["status", next],
			["output", first],
			["limit"],
			["doctor"],
		]) {
			const { code, error } = await box.bg(args);
			// This user's own installation may be incomplete.
			const isDoctor = args[0] === "doctor";
			expect({ args, code, error }).toEqual({
				args,
				code: isDoctor ? expect.any(Number) : 0,
				error: "",
			});
		}
		const changes = [
			["run", "d", "--", "true"],
			["launch", "--batch", "-"],
			["cancel", first],
			["cancel", "--all"],
			["edit", next, "--priority", "3"],
			["limit", "running", "4"],
			["pause", "--queue"],
			["unpause", next],
			["send", first, "words"],
			["cleanup", "--delete", "--older-than", "0s"],
		];
		const input = '{"description":"d","command":["true"]}';
		for (const args of changes) {
			const { code, error } = await box.bg(args, { input });
			expect({ args, code, error }).toEqual({
				args,
				code: expect.any(Number),
				error: expect.stringMatching(/^bg: [^\n]+\n$/),
			});
			expect(code).not.toBe(0);
		}
		expect(ofRoot(box.dir)).toEqual([]);
		expect(box.record(first).status).toBe("running");
		writeFileSync(go, "");
		const waited = await waiting;
		expect({ code: waited.code, error: waited.error }).toEqual({
			code: 1,
			error: "",
		});
		expect(waited.json().tasks).toMatchObject([
			{ id: first, status: "error", exit_code: 3 },
			{ id: next, status: "completed" },
			{ id: last, status: "completed" },
		]);
		await until(() => box.alive().length === 0, "no process");
		expect(ofRoot(box.dir)).toEqual([]);
		expect((await box.bg(["cleanup"], owner)).code).toBe(0);
	},
);

testWithUsers(
	"root reads no store where there is none, and makes none by that",
	async () => {
		const box = sandbox();
		handOver(box);
		const env = { BG_DIR: join(box.home, ".factory", "tasks") };
		for (const args of [["list"], ["wait"], ["prune", "--dry-run"]])
			expect((await box.bg(args, { env })).code).toBe(0);
		expect(existsSync(join(box.home, ".factory"))).toBe(false);
	},
);

// --- containers ---

concurrentTest(
	"a container and its host share a store: each keeps its own tasks, limits and stops, and waits for the other's",
	async () => {
		const box = sandbox();
		const env = { BG_MAX_RUNNING: "1" };
		const go = join(box.home, "go");
		const sides: CallOptions[] = [
			{ env },
			{ env, argv: [...(await pidNamespace()), ...program] },
		];
		const note = expect.stringMatching(/^in another pid namespace \(\d+\)$/);
		const tasks = await Promise.all(
			sides.map(async (side, index) => {
				const running = await box.run(waitFor(go, index + 3), side);
				await box.untilTask(running, ({ process }) => process, "a start");
				const waiting = await box.run(["true"], side);
				return { running, waiting, last: await box.run(["true"], side) };
			}),
		);
		for (const [index, side] of sides.entries()) {
			const [own, other] = index ? tasks.toReversed() : tasks;
			if (!own || !other) throw new Error("no tasks");
			const before = Object.values(other).map(box.state);
			const list = (await box.bg(["list", "--full"], side)).json();
			// One runs on each side, though the limit is 1.
			expect(list).toMatchObject({ running: 2, queued: 4 });
			const noteOf = (id: string) =>
				list.tasks.find((task: { id: string }) => task.id === id).note;
			for (const id of Object.values(other)) expect(noteOf(id)).toEqual(note);
			expect(noteOf(own.running)).toBeUndefined();
			for (const args of [
				["prune", "--ttl", "0s", "--dry-run"],
				["cancel", other.running],
				["cancel", "--signal", "KILL", other.waiting, other.last],
				["wait", "--timeout", "0.1s", other.running],
				["prune"],
			]) {
				const { code } = await box.bg(args, side);
				const expected = { cancel: 1, wait: 124 }[args[0] ?? ""] ?? 0;
				expect([args, code]).toEqual([args, expected]);
			}
			expect(Object.values(other).map(box.state)).toEqual(before);
		}
		const ids = tasks.flatMap((each) => Object.values(each));
		const waits = sides.map((side) => box.bg(["wait", ...ids], side));
		writeFileSync(go, "");
		for (const wait of waits) {
			const { code, json } = await wait;
			expect(code).toBe(1);
			const ends = new Map<string, object>(
				json().tasks.map((task: { id: string }) => [task.id, task]),
			);
			expect(ids.map((id) => ends.get(id))).toMatchObject([
				{ status: "error", exit_code: 3 },
				{ status: "completed" },
				{ status: "completed" },
				{ status: "error", exit_code: 4 },
				{ status: "completed" },
				{ status: "completed" },
			]);
		}
		await until(() => box.alive().length === 0, "no process");
		for (const name of [".slots", ".queue", ".parked", ".locks"])
			expect([name, readdirSync(join(box.dir, name))]).toEqual([name, []]);
	},
);

// --- a user who reads /proc ---

testWithUsers(
	"another user finds neither a private prompt nor a value of --env in /proc, whatever waits or runs",
	async () => {
		const box = sandbox();
		const argv = [...handOver(box), ...program];
		// The path is no secret: only the store itself is closed.
		for (const path of [dirname(box.dir), box.home]) chmodSync(path, 0o755);
		const go = join(box.home, "go");
		const env = { BG_MAX_RUNNING: "1", BG_DROID: standIn };
		const lines = ["running", "waiting", "last"].map((name) => ({
			description: name,
			prompt: `secret-prompt RUN[until [ -e ${go} ]; do sleep 0.2; done]`,
			private: true,
			env: { TOKEN: "secret-value" },
		}));
		const launch = async (each: object) => {
			const { code, error, stdout } = await box.bg(
				["launch", "-q", "--batch", "-"],
				{ argv, env, input: JSON.stringify(each) },
			);
			expect({ code, error }).toEqual({ code: 0, error: "" });
			return stdout.trim();
		};
		const [runs = {}, next = {}, last = {}] = lines;
		// Of three launches the first runs, the second is awake and the third is a parked shell.
		const ids = [
			await launch(runs),
			await launch(next),
			await parkOne(box, () => launch(last), { argv }),
		];
		await until(
			() => box.alive().some(({ command }) => command.includes(" -f ")),
			"a droid",
		);
		await until(
			() => box.alive().some(({ command }) => command.includes("until [ -e")),
			"a tool",
		);
		const kinds = () => countKinds(listStoreProcesses(box.dir));
		await until(() => kinds().parked, "a parked shell");
		expect(kinds().supervisor).toBeGreaterThan(0);
		const pids = box.alive().map(({ pid }) => pid);
		const read = (user: string[], file: string) => {
			const files = pids.map((pid) => `/proc/${pid}/${file}`);
			const { stdout } = Bun.spawnSync([...user, "cat", ...files], {
				stderr: "ignore",
			});
			return stdout.toString();
		};
		expect(read(stranger, "cmdline")).toContain("supervise");
		expect(read(stranger, "cmdline")).not.toContain("secret");
		expect(read(stranger, "environ")).toBe("");
		const owner = argv.slice(0, -program.length);
		expect(read(owner, "environ")).toContain("secret-value");
		// The prompt lies in the store, which is closed to others.
		const names = readdirSync(join(box.dir, ".prompts"));
		const prompt = names.find((name) => !name.endsWith(".system")) ?? "";
		const path = join(box.dir, ".prompts", prompt);
		expect(readFileSync(path, "utf8")).toContain("secret-prompt");
		const open = Bun.spawnSync([...stranger, "cat", path]);
		expect(open.exitCode).not.toBe(0);
		writeFileSync(go, "");
		expect((await box.bg(["wait", ...ids], { argv })).code).toBe(0);
		for (const id of ids)
			expect(JSON.stringify(box.record(id))).not.toContain("secret");
	},
);

// --- the way to the store ---

testWithUsers(
	"what another user puts in the place of a store is refused, and a task in it ends as its owner saw",
	async () => {
		const box = sandbox();
		const argv = [...handOver(box), ...program];
		// A parent that everybody may write, and that is not sticky: any user can rename the store away.
		const parent = join(box.home, "shared");
		mkdirSync(parent);
		chmodSync(parent, 0o777);
		for (const path of [dirname(box.dir), box.home]) chmodSync(path, 0o755);
		const dir = join(parent, "store");
		const env = { BG_DIR: dir };
		const owner = { argv, env };
		const go = join(box.home, "go");
		const canary = join(box.home, "canary");
		const id = await box.run(waitFor(go, 3), owner);
		const recordPath = join(dir, `${id}.json`);
		const record = () => JSON.parse(readFileSync(recordPath, "utf8"));
		await until(() => record().process, "a start");
		const text = { ...record(), on_end: ["touch", canary] };
		const { pid = 0 } = record();
		const away = join(parent, "away");
		const refused = async (words: string) => {
			for (const args of [["list"], ["run", "d", "--", "true"], ["prune"]])
				expect(await box.bg(args, owner)).toMatchObject({
					code: 111,
					error: expect.stringContaining(words),
				});
		};

		// A link of the stranger, to a folder that is the owner's own.
		renameSync(dir, away);
		symlinkSync(away, dir);
		Bun.spawnSync(["chown", "-h", `${strangerUid}`, dir]);
		await refused("is a link that another user made");

		// A folder of the stranger, open to all, with a record that names a command.
		rmSync(dir);
		mkdirSync(dir);
		chmodSync(dir, 0o777);
		for (const name of readdirSync(away).filter((each) => /^\.\w/.test(each)))
			if (lstatSync(join(away, name)).isDirectory()) {
				mkdirSync(join(dir, name));
				chmodSync(join(dir, name), 0o777);
			}
		writeFileSync(recordPath, JSON.stringify(text), { mode: 0o644 });
		writeFileSync(join(dir, ".on-end", id), "", { mode: 0o644 });
		Bun.spawnSync(["chown", "-R", `${strangerUid}:${strangerUid}`, dir]);
		await refused("belongs to another user");
		writeFileSync(go, "");
		await until(() => !isAlive(pid), "its process gone");
		// Long enough for a first and a second try to record the end.
		await Bun.sleep(1200);
		expect(JSON.parse(readFileSync(recordPath, "utf8"))).toEqual(text);
		expect(existsSync(canary)).toBe(false);

		// A rename onto an empty folder: the store is never missing.
		for (const name of readdirSync(dir))
			rmSync(join(dir, name), { recursive: true });
		renameSync(away, dir);
		await until(() => isFinal(record()), "its end");
		expect(record()).toMatchObject({ status: "error", exit_code: 3 });
		expect(existsSync(canary)).toBe(false);
	},
);
