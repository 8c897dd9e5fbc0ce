/** Launches that wait as a parked shell, and what becomes of them. */
import { expect, test } from "bun:test";
import {
	cpSync,
	existsSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	renameSync,
	rmSync,
	symlinkSync,
} from "node:fs";
import { basename, join } from "node:path";
import { quoteForShell } from "../../lib/process/self.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import {
	program,
	readOrNothing,
	root,
	type Sandbox,
	sandbox,
	until,
} from "../tools/harness.ts";
import { countKinds, listStoreProcesses } from "../tools/processes.ts";
import {
	aWhile,
	block,
	entries,
	gate,
	isEmpty,
	isOver,
	isReady,
	isRunning,
	kill,
	one,
	parkOne,
	run,
} from "../tools/queue.ts";
import { outputOf } from "../tools/scripts.ts";

/** A task that runs, one that is first in line, and `count` parked ones. */
async function park(box: Sandbox, count = 1, command = ["true"]) {
	const blocker = await block(box);
	const first = await run(box, ["true"], { env: one });
	const parked: string[] = [];
	while (parked.length < count)
		parked.push(await parkOne(box, () => run(box, command, { env: one })));
	await isReady(box, count + 1);
	expect(entries(box, "parked").sort()).toEqual([...parked, "beat"].sort());
	return { blocker, first, parked };
}

const shells = (box: Sandbox) =>
	listStoreProcesses(box.dir).filter(({ kind }) => kind === "parked");

/** The children of processes, by their pids. */
const childrenOf = (box: Sandbox, pids: readonly number[]) =>
	listStoreProcesses(box.dir)
		.filter(({ parent }) => pids.includes(parent))
		.map(({ pid }) => pid);

/** Ends what the parked shells wait for: each looks then what has become of the others. */
function endNaps(box: Sandbox) {
	const pids = shells(box).map(({ pid }) => pid);
	for (const nap of childrenOf(box, pids))
		try {
			kill(nap);
		} catch {
			// It has ended by itself.
		}
}

/** What a process gets from its launcher: variables, limits, umask, groups, descriptors. */
const show = [
	"tr '\\0' '\\1' </proc/$$/environ | tr '\\n\\1' '\\2\\n' | sort",
	"umask",
	"grep -v '^Max processes' /proc/$$/limits",
	"cat /proc/$$/cgroup /proc/$$/oom_score_adj",
	"grep -E '^(Groups|Sig(Blk|Ign)|Cap|NoNewPrivs|Seccomp)' /proc/self/status",
	"cut -d' ' -f18,19 /proc/$$/stat",
	"readlink /proc/$$/cwd",
	"readlink /proc/$$/fd/*",
].join("; ");

/** Variables that one shell or another drops, sets, obeys or changes. */
const oddVariables = {
	"a-b": "not an identifier",
	"BASH_FUNC_x%%": "() {  echo hi; }",
	BASH_ENV: "/dev/null/x",
	BG_PARKED_NAP: "1",
	EMPTY: "",
	ENV: "/dev/null/x",
	IFS: "x",
	LINES_OF: "one\ntwo\n",
	mark: "a variable of a script",
	OLDPWD: "/nowhere",
	OPTIND: "7",
	PS4: "$(touch /tmp/evil)",
	PWD: "/not/here",
	SHELLOPTS: "xtrace",
	SHLVL: "41",
	_: "underscore",
	é: "ü\t€",
} as const;

/** An environment that does not fit through a shell: the launch waits as a supervisor. */
const tooWide = {
	...one,
	...Object.fromEntries(
		Array.from({ length: 3 }, (_, n) => [`a-${n}`, "x".repeat(50_000)]),
	),
};

/** The last repair of the queue: its time, and the process that makes the next one. */
function readBeat(box: Sandbox): { at?: number; keeper?: number } {
	const folder = join(box.dir, ".parked");
	const beat = readdirSync(folder).find((name) => name.startsWith("beat,"));
	const text = readOrNothing(join(folder, beat ?? "none"));
	const [at, , keeper] = text.split(/[ \n]/).map(Number.parseFloat);
	return { ...(at && { at }), ...(keeper && { keeper }) };
}

const keeperOf = (box: Sandbox) => readBeat(box).keeper;

/** How often each process reads in so many ms. */
async function countReads(pids: number[], ms: number): Promise<number[]> {
	const count = (pid: number) =>
		Number(/^syscr: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1]);
	const before = pids.map(count);
	await Bun.sleep(ms);
	return pids.map((pid, index) => count(pid) - (before[index] ?? 0));
}

test("a parked task has the environment, limits, umask and descriptors of one that starts at once", async () => {
	const box = sandbox();
	const command = ["sh", "-c", show];
	const words = [...program, "run", "-q", "t", "--", ...command];
	const launch = async (limit: string) => {
		const script = `umask 026; ulimit -n 600; ulimit -f 900001; exec ${words.map(quoteForShell).join(" ")}`;
		const answer = await box.bg(["-c", script], {
			argv: ["sh"],
			env: { ...oddVariables, BG_MAX_RUNNING: limit },
		});
		expect(answer.stderr).toBe("");
		return answer.stdout.trim();
	};
	const { blocker } = await park(box);
	const parked = await parkOne(box, () => launch("1"));
	blocker.open();
	await isOver(box, parked);
	const atOnce = await launch("1");
	await isOver(box, atOnce);
	const [a, b] = [parked, atOnce].map((id) =>
		outputOf(box, id).replaceAll(id, "ID"),
	);
	expect(a).toBe(b ?? "");
	for (const [name, value] of Object.entries(oddVariables)) {
		// The shell that launched it has set these itself.
		if (["PWD", "OLDPWD", "SHLVL", "_", "OPTIND"].includes(name)) continue;
		const isKept = name !== "BG_PARKED_NAP" && /^\w+$/.test(name);
		if (isKept && name !== "IFS")
			expect(a).toContain(`${name}=${value.replaceAll("\n", "\u0002")}`);
	}
	await isEmpty(box);
});

test("a parked shell becomes its task's supervisor: the same process, with no child of its own", async () => {
	const box = sandbox();
	const { blocker, parked } = await park(box, 1, ["sleep", "60"]);
	const [id = ""] = parked;
	const before = box.record(id).supervisor;
	blocker.open();
	const running = await box.untilTask(
		id,
		({ status }) => status === "running",
		"it running",
	);
	expect(running.supervisor).toEqual(before);
	expect(childrenOf(box, [before?.pid ?? 0])).toEqual([running.pid ?? 0]);
	await box.bg(["cancel", id]);
});

test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
	"%s to a parked shell ends its task as cancelled, reason shutdown",
	async (signal) => {
		const box = sandbox();
		const { blocker, parked } = await park(box);
		const [id = ""] = parked;
		process.kill(box.record(id).supervisor?.pid ?? 0, signal);
		expect(await isOver(box, id)).toMatchObject({
			status: "cancelled",
			reason: "shutdown",
			error: `stopped: its supervisor got ${signal}`,
		});
		blocker.open();
		await isEmpty(box);
	},
);

test("a cancelled parked task leaves nothing, and starts no supervisor for it", async () => {
	const box = sandbox();
	const { blocker, first, parked } = await park(box, 4);
	const answer = await box.bg(["cancel", ...parked]);
	expect(answer.code).toBe(0);
	for (const id of parked)
		expect(box.record(id)).toMatchObject({ status: "cancelled" });
	await until(() => shells(box).length === 0, "no shell");
	expect(entries(box, "parked")).toEqual(["beat"]);
	expect(countKinds(listStoreProcesses(box.dir)).supervisor).toBe(2);
	blocker.open();
	await isOver(box, first);
	await isEmpty(box);
});

test("the --on-end of a cancelled parked task runs, in its launcher's environment", async () => {
	const box = sandbox();
	const { blocker } = await park(box);
	const made = join(box.home, "made");
	const onEnd = JSON.stringify(["sh", "-c", 'echo "$WHO" >"$0"', made]);
	const id = await parkOne(box, () =>
		run(box, ["true"], {
			flags: ["--on-end", onEnd],
			env: { ...one, WHO: "the launcher" },
		}),
	);
	await box.bg(["cancel", id], { env: { WHO: "the canceller" } });
	await until(() => existsSync(made), "the command of --on-end");
	await until(
		() => readFileSync(made, "utf8") === "the launcher\n",
		"its text",
	);
	blocker.open();
	await isEmpty(box);
});

test("a parked shell that was killed is lost, and the next one starts", async () => {
	const box = sandbox();
	const { blocker, parked } = await park(box, 2);
	const [killed = "", next = ""] = parked;
	const { pid = 0 } = box.record(killed).supervisor ?? {};
	process.kill(pid, "SIGSTOP");
	kill(...childrenOf(box, [pid]), pid);
	blocker.open();
	expect(await isOver(box, next)).toMatchObject({ status: "completed" });
	expect((await box.bg(["status", killed])).json()).toMatchObject({
		status: "error",
		reason: "lost",
	});
	await isEmpty(box);
});

test("parked shells go on although the folder of their marks was removed", async () => {
	const box = sandbox();
	const { blocker, parked } = await park(box, 2);
	rmSync(join(box.dir, ".parked"), { recursive: true });
	blocker.open();
	for (const id of parked)
		expect(await isOver(box, id)).toMatchObject({ status: "completed" });
	await isEmpty(box);
});

concurrentTest(
	"if all supervisors die together, a parked shell takes over by itself",
	async () => {
		const box = sandbox();
		const { blocker, parked } = await park(box, 3);
		const pids = listStoreProcesses(box.dir).flatMap(({ kind, pid }) =>
			kind === "supervisor" ? [pid] : [],
		);
		kill(...pids);
		blocker.open();
		// The shells poll at the end of each nap; they take over once the last repair is 10 s ago.
		await until(async () => {
			endNaps(box);
			await Bun.sleep(100);
			return shells(box).length < parked.length;
		}, "a shell that takes over");
		for (const id of parked)
			expect(await isOver(box, id)).toMatchObject({ status: "completed" });
		await box.bg(["prune"]);
		await isEmpty(box);
	},
);

test("if bg is gone when its turn comes, the task ends as error, reason spawn", async () => {
	const box = sandbox();
	const copy = join(box.home, "copy");
	mkdirSync(copy);
	const file = program.at(-1) ?? "";
	for (const name of file.endsWith("bg.ts")
		? ["lib", "bg.ts", "package.json"]
		: [])
		cpSync(join(root, name), join(copy, name), { recursive: true });
	if (file.endsWith("bg.ts"))
		symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
	else cpSync(file, join(copy, basename(file)));
	const copied = join(copy, basename(file));
	const { blocker } = await park(box);
	const argv = [...program.slice(0, -1), copied];
	const words = ["run", "-q", "d", "--", "true"];
	const id = await parkOne(box, async () => {
		const { stdout, stderr } = await box.bg(words, { argv, env: one });
		expect(stderr).toBe("");
		return stdout.trim();
	});
	const after = await run(box, ["true"], { env: one });
	renameSync(copied, `${copied}.moved`);
	blocker.open();
	expect(await isOver(box, after)).toMatchObject({ status: "completed" });
	expect((await box.bg(["status", id])).json()).toMatchObject({
		status: "error",
		reason: "spawn",
		error: "never started: bg was gone when its turn came",
	});
	rmSync(copy, { recursive: true });
	await isEmpty(box);
});

test("what comes after a failure ends without a supervisor of its own, whoever waits for it", async () => {
	const box = sandbox();
	const gate = join(box.home, "gate");
	const script = `until test -e ${gate}; do sleep 0.2; done; exit 3`;
	const failing = await run(box, ["sh", "-c", script]);
	const others: string[] = [];
	for (const command of [["true"], ["true"], ["true"]])
		others.push(
			await run(box, command, { flags: ["--after", others.at(-1) ?? failing] }),
		);
	await until(
		() => entries(box, "parked").includes("beat") && shells(box).length === 2,
		"two parked, and one awake",
	);
	await Bun.write(gate, "");
	for (const id of others)
		expect(await isOver(box, id)).toMatchObject({ reason: "dependency" });
	await isEmpty(box);
	expect(entries(box, "parked")).toEqual([]);
});

test("a launch waits as a supervisor if its environment does not fit through a shell", async () => {
	const box = sandbox();
	const { blocker } = await park(box);
	const id = await run(box, ["true"], { env: tooWide });
	expect(entries(box, "parked")).not.toContain(id);
	blocker.open();
	expect(await isOver(box, id)).toMatchObject({ status: "completed" });
	await isEmpty(box);
});

concurrentTest(
	"of supervisors that wait, that of the first in line repairs the queue and the others idle; the next takes over",
	async () => {
		const box = sandbox();
		const blocker = await block(box);
		const ids: string[] = [];
		const second = gate(box);
		for (const command of [second.command, ["true"], ["true"], ["true"]])
			ids.push(await run(box, command, { env: tooWide }));
		await isReady(box, ids.length);
		const [a = 0, b = 0, c = 0, d = 0] = ids.map(
			(id) => box.record(id).supervisor?.pid,
		);
		await until(() => keeperOf(box) === a, "the first one repairs");
		let reads: number[] = [];
		await until(
			async () => {
				const { at: before = 0 } = readBeat(box);
				reads = await countReads([a, b, c, d], 9000);
				const [ofFirst = 0, ...ofOthers] = reads;
				const areIdle = ofOthers.every((each) => each < ofFirst / 8);
				const { at = 0, keeper } = readBeat(box);
				return areIdle && keeper === a && at - before > 5000;
			},
			"a time in which the first one repairs and the others hardly read",
			() => JSON.stringify(reads),
		);
		blocker.open();
		await until(() => keeperOf(box) === b, "the second one repairs");
		// Once the running one has handed over, nothing but the age of the beat tells it.
		await isRunning(box, ids[0] ?? "");
		await aWhile();
		kill(b);
		await until(() => keeperOf(box) === c, "the third one repairs");
		second.open();
		for (const id of [ids[0], ids[2], ids[3]])
			expect(await isOver(box, id ?? "")).toMatchObject({
				status: "completed",
			});
		await isEmpty(box);
	},
);
