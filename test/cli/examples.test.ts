import { describe, expect, test } from "bun:test";
import {
	existsSync,
	mkdirSync,
	readFileSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { loadVerbs } from "../../lib/cli/verb.ts";
import { verbs } from "../../lib/cli/verbs.ts";
import { openStore } from "../../lib/store/directory.ts";
import { createTask } from "../../lib/store/records.ts";
import type { Task } from "../../lib/task/schema.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import { type Answer, executable, root } from "../tools/harness.ts";
import { addTask, parent, stopOf } from "../tools/hooks.ts";
import { openPty } from "../tools/pty.ts";
import { type Trees, treeSandbox } from "../tools/worktrees.ts";

/** A store and a project, in which a person types an example. */
type World = Trees & {
	/** Launches a droid that says something, and waits for it. */
	say: (words?: string) => Promise<Task>;
	/** Starts a command that lasts; ended with the test. */
	last: (...flags: string[]) => Promise<string>;
	newest: () => Promise<Task>;
};

type Example = {
	before?: (world: World) => unknown;
	/** Of what is printed, and of what is there afterwards. */
	check: (answer: Answer, world: World) => unknown;
	/** The shell that it is for, if not `sh`. */
	shell?: string;
	/** What is typed into a terminal in which it runs; `q` leaves. */
	keys?: string;
};

const oldId = "bg_19f0c2a4b5c6d7e8";

/** A finished task of long ago, with an output. */
function addOld(world: World, id = oldId): void {
	const store = openStore({ dir: world.dir, write: true });
	const at = "2020-01-01T00:00:00.000Z";
	createTask(store, {
		...{ id, kind: "command", description: "old", status: "completed" },
		...{ command: ["true"], queued_at: at, started_at: at, completed_at: at },
	});
	writeFileSync(join(world.dir, `${id}.out`), "an old line\n", { mode: 0o600 });
}

const finished = (status: string) => async (_: Answer, world: World) =>
	expect(await world.newest()).toMatchObject({ status });

const changesLimit = (wanted: object) => async (_: Answer, world: World) =>
	expect((await world.bg(["limit"])).json().set).toMatchObject(wanted);

const prints =
	(...wanted: (string | RegExp)[]) =>
	({ stdout }: Answer) => {
		for (const each of wanted) expect(stdout).toMatch(each);
	};

const tree = (world: World) => world.work("plum", "echo grown > fruit");

const edited = (wanted: Partial<Task>): Example => ({
	before: async (world) => {
		const id = await world.last();
		await world.bg(["run", "-q", "--after", id, "d", "--", "true"]);
	},
	check: async (_, world) => expect(await world.newest()).toMatchObject(wanted),
});

const completed = (wanted: Partial<Task>): Example => ({
	before: (world) => world.last(),
	check: async (_, world) => expect(await world.newest()).toMatchObject(wanted),
});

const paused = (isPaused: boolean): Example => ({
	before: async ({ bg, last }) => {
		const id = await last();
		if (!isPaused) await bg(["pause", id]);
	},
	check: async (_, world) =>
		expect((await world.newest()).paused_at !== undefined).toBe(isPaused),
});

const queuePaused = (isPaused: boolean): Example => ({
	before: async ({ bg }) => {
		if (!isPaused) await bg(["pause", "--queue"]);
	},
	check: async (_, { bg }) =>
		expect((await bg(["limit"])).json().queue.paused).toBe(isPaused),
});

const watched: Example = {
	before: (world) => world.last(),
	keys: "q",
	check: prints(/sleep|a long one/),
};

/** By line; a line of a verb's help that is not here fails. */
const examples: Record<string, Example> = {
	'bg launch "fix the tests" "Run the tests and fix what fails."': {
		check: async (_, world) =>
			expect(await world.newest()).toMatchObject({
				description: "fix the tests",
				prompt: "Run the tests and fix what fails.",
				agent: "executor-med",
			}),
	},
	'bg launch -q "review" "Review the last commit." --droid code-reviewer': {
		check: async ({ stdout }, world) => {
			const { id, agent } = await world.newest();
			expect({ stdout, agent }).toEqual({
				stdout: `${id}\n`,
				agent: "code-reviewer",
			});
		},
	},
	"bg launch --batch tasks.jsonl": {
		before: ({ project }) => {
			const line = JSON.stringify({ description: "d", command: ["true"] });
			writeFileSync(join(project, "tasks.jsonl"), `${line}\n${line}\n`);
		},
		check: ({ json }) => expect(json().tasks).toHaveLength(2),
	},
	'bg run "build" -- make -j8': {
		check: async (_, world) => {
			const { id } = await world.newest();
			await world.bg(["wait", id]);
			expect(world.record(id)).toMatchObject({ result: "make -j8" });
		},
	},
	'bg run --timeout 10m --after @last "test" -- npm test': {
		before: (world) => world.last(),
		check: async (_, world) =>
			expect(await world.newest()).toMatchObject({
				status: "queued",
				timeout_ms: 600_000,
				command: ["npm", "test"],
			}),
	},
	'bg resume @last "Now write a test for it."': {
		before: (world) => world.say(),
		check: async (_, world) =>
			expect(await world.newest()).toMatchObject({
				prompt: "Now write a test for it.",
				resume_of: expect.stringMatching(/^bg_/),
			}),
	},
	'bg resume --fork @last "Try it another way."': {
		before: (world) => world.say(),
		check: async (_, world) =>
			expect((await world.newest()).command?.at(-2)).toBe("--fork"),
	},
	"bg retry @last": {
		before: (world) => world.say(),
		check: async (_, world) =>
			expect((await world.newest()).retry_of).toMatch(/^bg_/),
	},
	"bg retry -q 3f2a": {
		before: (world) => addOld(world, "bg_19f0c2a4b5c63f2a"),
		check: async ({ stdout }, world) => {
			const { id, retry_of } = await world.newest();
			expect(stdout).toBe(`${id}\n`);
			expect(retry_of).toBe("bg_19f0c2a4b5c63f2a");
		},
	},
	"bg list --status queued,running": {
		before: async (world) => {
			await world.say();
			await world.last();
		},
		check: ({ json }) =>
			expect(json()).toMatchObject({
				total: 1,
				tasks: [{ status: "running" }],
			}),
	},
	"bg list --all --limit 0": {
		before: async (world) => {
			addOld(world);
			await world.bg(["cleanup"]);
		},
		check: ({ json }) => expect(json().tasks).toMatchObject([{ id: oldId }]),
	},
	"bg list --tag nightly --full --json": {
		before: async (world) => {
			await world.say();
			await world.last("--tag", "nightly");
		},
		check: ({ json }) =>
			expect(json().tasks).toMatchObject([
				{ tags: ["nightly"], command: ["sleep", "60"] },
			]),
	},
	"bg status @last": {
		before: (world) => world.say(),
		check: ({ json }) => expect(json()).toMatchObject({ result: "Done." }),
	},
	"bg status @last --full --json": {
		before: (world) => world.say("x".repeat(3000)),
		check: ({ json }) => expect(json().result).toHaveLength(3000),
	},
	"bg output @last --tail 20": {
		before: (world) => world.say(),
		check: prints("Done.\n"),
	},
	"bg output bg_19f0c2a4 --follow": {
		before: (world) => addOld(world),
		check: prints("an old line\n"),
	},
	"bg output @last --since 4096 --json": {
		before: async (world) => {
			addOld(world);
			const path = join(world.dir, `${oldId}.out`);
			writeFileSync(path, `${"x".repeat(4095)}\nthe rest\n`);
		},
		check: ({ json }) =>
			expect(json().tasks).toMatchObject([{ output: "the rest\n" }]),
	},
	"bg result @last": {
		before: (world) => world.say(),
		check: ({ stdout }) => expect(stdout).toBe("Done.\n"),
	},
	"bg result @last --since 65536": {
		before: (world) => world.say(`${"x".repeat(65536)}the rest`),
		check: ({ stdout }) => expect(stdout).toBe("the rest\n"),
	},
	"bg report": {
		before: (world) => world.say(),
		check: prints("## Background Tasks", "`Done.`"),
	},
	"bg report --all": {
		before: async (world) => {
			addOld(world);
			await world.bg(["cleanup"]);
		},
		check: prints(oldId),
	},
	"bg diff @last": { before: tree, check: prints("+grown\n") },
	"bg diff @last --stat": { before: tree, check: prints("1 file changed") },
	"bg droids": { check: prints("executor-med", "code-reviewer") },
	"bg droids --json": {
		check: ({ json }) => expect(json().droids[0].tools).toBeDefined(),
	},
	"bg wait": {
		before: ({ env, run }) => {
			env.BG_SESSION_ID = parent;
			return run(["true"]);
		},
		check: ({ json }) =>
			expect(json()).toMatchObject({ tasks: [{ status: "completed" }] }),
	},
	"bg wait --any --timeout 10m": {
		before: async ({ env, run, last }) => {
			// In a session an end that came before is waited for, too.
			env.BG_SESSION_ID = parent;
			await last();
			await run(["true"]);
		},
		check: ({ json }) =>
			expect(json()).toMatchObject({
				tasks: [{ status: "completed" }],
				running: [expect.stringMatching(/^bg_/)],
			}),
	},
	"bg watch": watched,
	"NO_COLOR=1 bg watch": {
		...watched,
		check: (answer) => {
			prints(/a long one/)(answer);
			expect(answer.stdout).not.toContain("\u001b[3");
		},
	},
	"bg cancel @last": {
		before: (world) => world.last(),
		check: finished("cancelled"),
	},
	"bg cancel --all --signal INT": {
		before: (world) => world.last(),
		check: async (_, world) =>
			expect(await world.newest()).toMatchObject({
				status: "cancelled",
				stop: { signal: "INT" },
			}),
	},
	"bg edit @last --priority 10": edited({ priority: 10 }),
	"bg edit @last --timeout 2h": edited({ timeout_ms: 7_200_000 }),
	"bg limit": { check: ({ json }) => expect(json().limits.running).toBe(8) },
	"bg limit running 3": { check: changesLimit({ running: 3 }) },
	"bg limit droid reviewer 1": {
		check: changesLimit({ droid: { reviewer: 1 } }),
	},
	"bg limit model opus 0": { check: changesLimit({ model: { opus: 0 } }) },
	"bg limit running default": {
		before: ({ bg }) => bg(["limit", "running", "3"]),
		check: ({ json }) => expect(json().limits.running).toBe(8),
	},
	"bg pause @last": paused(true),
	"bg unpause @last": paused(false),
	"bg pause --queue": queuePaused(true),
	"bg unpause --queue": queuePaused(false),
	'bg complete @last "It works."': completed({
		status: "completed",
		result: "It works.",
	}),
	'bg complete @last "" "It does not build."': completed({
		status: "error",
		error: "It does not build.",
	}),
	"bg prune --dry-run": {
		before: (world) => addTask(world),
		check: ({ json }) => expect(json()).toMatchObject({ dryRun: true }),
	},
	"bg prune --ttl 2h": {
		before: (world) => world.last(),
		check: async ({ json }, world) => {
			expect(json().removed).toEqual([]);
			expect((await world.newest()).status).toBe("running");
		},
	},
	"bg cleanup": {
		before: (world) => addOld(world),
		check: async ({ json }, { bg, dir }) => {
			expect(json().archived).toEqual([oldId]);
			expect((await bg(["list"])).json().total).toBe(0);
			expect(existsSync(join(dir, `${oldId}.out`))).toBe(true);
		},
	},
	"bg cleanup --delete --older-than 30d": {
		before: async (world) => {
			addOld(world);
			await world.say();
		},
		check: ({ json }, { dir }) => {
			expect(json().deleted).toEqual([oldId]);
			expect(existsSync(join(dir, `${oldId}.out`))).toBe(false);
		},
	},
	"bg install": {
		check: (_, { home }) =>
			expect(existsSync(join(home, ".factory", "hooks.json"))).toBe(true),
	},
	"bg install --plugin ~/bg-plugin": {
		check: ({ json }, { home }) => {
			expect(json().next.at(-1)).toStartWith("droid plugin install");
			expect(existsSync(join(home, "bg-plugin"))).toBe(true);
		},
	},
	"bg uninstall --dry-run": {
		before: ({ bg }) => bg(["install"]),
		check: ({ json }, { home }) => {
			expect(json().files).toHaveLength(4);
			expect(existsSync(join(home, ".factory", "hooks.json"))).toBe(true);
		},
	},
	"bg uninstall --project": {
		before: ({ bg }) => bg(["install", "--project"]),
		check: (_, { project }) =>
			expect(existsSync(join(project, ".factory"))).toBe(false),
	},
	"bg doctor": { check: prints('"check":"store"') },
	"bg doctor --json": {
		check: ({ json }) =>
			expect(json().checks.some((each: object) => "fix" in each)).toBe(true),
	},
	"bg help wait": {
		check: async ({ stdout }, { bg }) =>
			expect((await bg(["wait", "--help"])).stdout).toBe(stdout),
	},
	"bg help --man > bg.1": {
		check: (_, { project }) =>
			expect(readFileSync(join(project, "bg.1"), "utf8")).toStartWith(".TH BG"),
	},
	'eval "$(env bg completion bash)"': {
		shell: "bash",
		check: prints("bg is a function", /complete .* bg\n/),
	},
	'eval "$(env bg completion zsh)"': {
		shell: "zsh",
		check: prints(/compdef|function/),
	},
	"env bg completion fish | source": {
		shell: "fish",
		check: prints(/complete/),
	},
	"bg hook < event.json": {
		before: ({ project }) =>
			writeFileSync(
				join(project, "event.json"),
				JSON.stringify({ hook_event_name: "Stop", session_id: "x" }),
			),
		check: ({ stdout }) => expect(stdout).toBe(""),
	},
	'echo \'{"hook_event_name":"SessionEnd","session_id":"x"}\' | bg hook': {
		check: ({ stdout }) => expect(stdout).toBe(""),
	},
	"bg hook-complete < event.json": {
		before: (world) => {
			addTask(world, { kind: "droid", session_id: parent });
			const payload = stopOf(parent, { last_assistant_message: "It works." });
			writeFileSync(join(world.project, "event.json"), JSON.stringify(payload));
		},
		check: async (_, world) =>
			expect(await world.newest()).toMatchObject({ result: "It works." }),
	},
	'echo \'{"session_id":"x"}\' | bg hook-complete': {
		before: (world) => addTask(world, { kind: "droid", session_id: "x" }),
		check: finished("completed"),
	},
};

const lines = (await loadVerbs(verbs)).flatMap((verb) =>
	Object.keys(verb.examples).map((line) => [verb.name, line] as const),
);

test("the help of each verb has two examples or more", () => {
	const counts = Map.groupBy(lines, ([name]) => name);
	for (const name of Object.keys(verbs))
		expect([name, (counts.get(name)?.length ?? 0) >= 2]).toEqual([name, true]);
});

test("no example is run that the help does not have", () => {
	const known = lines.map(([, line]) => line);
	expect(Object.keys(examples).filter((line) => !known.includes(line))).toEqual(
		[],
	);
});

describe("an example of the help does what it says:", () => {
	concurrentTest.each(lines)("%s: %s", async (_, line) => {
		const example = examples[line];
		if (!example) throw new Error("it is not in the table of this file");
		const { before, check, shell = "sh", keys } = example;
		if (!Bun.which(shell)) {
			console.log(`not on PATH, so not tried: ${shell}`);
			return;
		}
		const world = openWorld();
		try {
			await before?.(world);
			const answer = keys
				? await typeIn(world, line, keys)
				: await world.bg([], { argv: [shell, "-c", scriptOf(line, shell)] });
			if (!/doctor/.test(line))
				expect({ ...answer, stdout: "" }).toMatchObject({ code: 0 });
			await check(answer, world);
		} finally {
			if (world.alive().length) await world.bg(["cancel", "--all"]);
			// The process of a task that was completed by hand goes on.
			for (const { pid, command } of world.alive())
				if (command.startsWith("sleep ")) process.kill(pid);
		}
	});
});

/** Calls the program as `bg`, although it is a builtin of shells; a completion is asked for what it defined. */
function scriptOf(line: string, shell: string): string {
	if (shell === "bash") return `${line}; type bg; complete -p bg`;
	if (shell !== "sh") return line.replace(/^eval /, "printf %s ");
	return `bg() { command env bg "$@"; }; ${line}`;
}

async function typeIn(world: World, line: string, keys: string) {
	const argv = ["sh", "-c", scriptOf(line, "sh")];
	const pty = openPty({ ...world, home: world.project }, [], { argv });
	await pty.untilScreen(/a long one/);
	pty.type(keys);
	const code = Number(await pty.ended);
	const stdout = pty.text();
	return { code, stdout, stderr: "", error: "", json: () => undefined };
}

function openWorld(): World {
	const box = treeSandbox();
	const bin = join(box.home, "bin");
	mkdirSync(bin);
	// Only what was built can be installed.
	symlinkSync(join(root, "dist", "bg"), join(bin, "bg"));
	for (const name of ["make", "npm"])
		executable(bin, name, `#!/bin/sh\necho ${name} "$@"\n`);
	box.env.PATH = `${bin}:${box.env.PATH}`;
	const bg: Trees["bg"] = (args, options) =>
		box.bg(args, { argv: ["env", "bg"], ...options });
	const id = async (args: string[]) => {
		const { stdout, error } = await bg(args);
		if (!stdout) throw new Error(error);
		return stdout.trim();
	};
	return {
		...box,
		bg,
		say: async (words = "Done.") => {
			const launched = await id(["launch", "-q", "d", `SAY[${words}]`]);
			await bg(["wait", launched]);
			return box.record(launched);
		},
		last: async (...flags) => {
			const long = ["run", "-q", ...flags, "a long one", "--", "sleep", "60"];
			const started = await id(long);
			await box.untilTask(started, ({ pid }) => pid, "a start");
			return started;
		},
		newest: async () => (await bg(["status", "@last", "--full"])).json(),
	};
}
