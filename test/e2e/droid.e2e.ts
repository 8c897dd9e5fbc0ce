/**
 * bg and the real droid: that what is promised of a droid's task holds for the client that people
 * have, from the prompt's bytes at the model to the last process of a tool. `npm run test:droid`.
 */
import { expect } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isAlive, until } from "../tools/harness.ts";
import { type ModelRequest, textsOf } from "../tools/model.ts";
import {
	bgProgram,
	droidTest,
	gate,
	pidOf,
	quote,
	sessionOf,
	useDroid,
} from "./droid-lab.ts";

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

useDroid();

const bg = bgProgram.map(quote).join(" ");

const said = ({ messages }: ModelRequest, role: string) =>
	messages.filter((each) => each.role === role).flatMap(textsOf);

droidTest("a droid's final text is its task's result", async (lab) => {
	const prompt = `RUN[echo hello; ${gate}] SAY[All good.]`;
	const launched = await lab.bg([
		...["launch", "a greeting", prompt, "executor-med", "main"],
		...["medium", "custom:lab"],
	]);
	expect(launched.code).toBe(0);
	const { taskId: id, sessionId } = launched.json();
	expect(launched.json()).toMatchObject({
		description: "a greeting",
		status: "queued",
	});

	const status = async () => (await lab.bg(["status", id])).json();
	const running = await until(async () => {
		const task = await status();
		return task.progress?.toolCalls === 1 && task;
	}, "a tool call in the status");
	expect(running).toMatchObject({
		status: "running",
		kind: "droid",
		session_id: sessionId,
		progress: {
			toolCalls: 1,
			lastTool: "Execute",
			outputFile: join(lab.dir, `${id}.out`),
		},
	});
	const session = running.droid_session_id;
	expect(session).toMatch(uuid);
	expect((await lab.bg(["list"])).json()).toMatchObject({
		total: 1,
		running: 1,
		tasks: [{ id, status: "running", progress: { lastTool: "Execute" } }],
	});
	const outputOf = async (...flags: string[]) =>
		(await lab.bg(["output", id, "--json", ...flags])).json().tasks[0];
	const soFar = await outputOf();
	expect(soFar.status).toBe("running");
	expect(soFar.output).toContain("→ Execute echo hello;");
	expect(soFar.output).not.toContain("# done");

	lab.openGate();
	const waited = await lab.bg(["wait", id]);
	expect(waited.code).toBe(0);
	expect(waited.json().tasks).toEqual([
		{
			id,
			taskId: id,
			status: "completed",
			exit_code: 0,
			result: "All good.",
		},
	]);
	expect(await status()).toMatchObject({
		status: "completed",
		reason: "exit",
		exit_code: 0,
		result: "All good.",
		droid_session_id: session,
		progress: { toolCalls: 1, lastTool: "Execute", lastMessage: "All good." },
		usage: { input_tokens: 20, output_tokens: 10 },
	});

	expect((await lab.bg(["result", id])).stdout).toBe("All good.\n");
	const rest = await outputOf("--since", `${soFar.nextOffset}`);
	expect(soFar.output + rest.output).toMatch(
		new RegExp(
			[
				`^# session ${session}, model \\S+`,
				"> RUN\\[echo hello; .*",
				"→ Execute echo hello; .*",
				"  hello",
				"( .*\n|\n)*All good\\.",
				"# done \\(2 turns, [\\d.]+s, 20 tokens in, 10 out\\)\n$",
			].join("\n"),
		),
	);
	expect((await lab.bg(["output", id])).stdout).toBe(
		soFar.output + rest.output,
	);
});

const prompts = {
	"quotes and substitutions":
		"say \"this\", 'that', $(touch broken), `touch broken`, $HOME, %s, !! & *",
	"lines and edges": "\n  first\r\n\tsecond\n\n  last  \n",
	"a trailing backslash": "\\n is no newline \\",
	"a leading dash": "--auto high -m other",
	"no ASCII": "schön 日本語 👩‍👩‍👧 \u0001\u{1F980}",
};

for (const [what, prompt] of Object.entries(prompts))
	droidTest(`a prompt with ${what} reaches the model as it is`, async (lab) => {
		const id = await lab.launch(prompt);
		expect((await lab.bg(["wait", id])).code).toBe(0);
		expect(lab.record(id).prompt).toBe(prompt);
		const [request] = lab.model.requests();
		expect(request && said(request, "user").at(-1)).toBe(prompt);
		expect(existsSync(join(lab.project, "broken"))).toBe(false);
	});

droidTest(
	"a prompt of more than 1 MiB comes from a file, and stays out of the record",
	async (lab) => {
		const prompt = `-"$(id)" 🦀\n${"All work and no play. ".repeat(55_000)}\\`;
		expect(Buffer.byteLength(prompt)).toBeGreaterThan(1024 * 1024);
		const file = join(lab.home, "prompt");
		writeFileSync(file, prompt);
		const id = await lab.launch("", {
			flags: ["--private", "--prompt-file", file],
		});
		const [task] = (await lab.bg(["wait", id])).json().tasks;
		expect(task).toMatchObject({
			status: "completed",
			result: "Hello from the scripted model.",
		});
		const [request] = lab.model.requests();
		expect(request && said(request, "user").at(-1) === prompt).toBe(true);
		expect(lab.record(id).droid_session_id).toMatch(uuid);
	},
);

droidTest("a private prompt reaches the model by no argv", async (lab) => {
	const prompt = `RUN[${gate}; echo the word is swordfish] SAY[Understood.]`;
	const id = await lab.launch(prompt, { flags: ["--private"] });
	const { pid } = await lab.untilTask(id, ({ pid }) => pid, "its process");
	const argv = readFileSync(`/proc/${pid}/cmdline`, "utf8");
	await lab.untilAtGate();
	lab.openGate();
	await lab.bg(["wait", id]);
	expect(lab.record(id).result).toBe("Understood.");
	expect(argv).toContain("exec");
	expect(argv).not.toContain("swordfish");
	expect(JSON.stringify(lab.record(id))).not.toContain("swordfish");
});

droidTest("a run that fails ends with droid's own words", async (lab) => {
	const id = await lab.launch("RUN[echo on the way] FAIL[400]");
	const waited = await lab.bg(["wait", id]);
	expect(waited.code).toBe(1);
	expect(waited.json().tasks).toMatchObject([
		{
			status: "error",
			exit_code: 1,
			error: "exited 1: 400 a scripted failure",
		},
	]);
	expect(lab.record(id)).toMatchObject({
		reason: "exit",
		progress: { toolCalls: 1 },
	});
});

droidTest(
	"cancel ends a droid and its tools in other sessions",
	async (lab) => {
		// Droid ends the command it waits for; of the other one it knows nothing.
		const id = await lab.launch("RUN[(setsid sleep 301 &); sleep 300]");
		const tools = await Promise.all(
			["sleep 300", "sleep 301"].map(lab.untilProcess),
		);
		const droid = pidOf(lab.record(id).process);
		const sessions = new Set([droid, ...tools].map(sessionOf));
		expect(sessions.size).toBe(3);

		const cancelled = await lab.bg(["cancel", id]);
		expect(cancelled.code).toBe(0);
		expect(cancelled.json().tasks).toEqual([
			{
				id,
				taskId: id,
				status: "cancelled",
				cancelled: true,
				survivors: [],
			},
		]);
		expect([droid, ...tools].map(isAlive)).toEqual([false, false, false]);
		const { exit_code, ...record } = lab.record(id);
		expect(record).toMatchObject({
			status: "cancelled",
			reason: "cancel",
			stop: { reason: "cancel" },
		});
		// Exit code 0 is what droid says when it is stopped, if it leaves within the grace.
		expect([0, undefined]).toContain(exit_code);
	},
);

droidTest("SIGTERM to a supervisor stops its droid", async (lab) => {
	const id = await lab.launch("RUN[sleep 300]");
	const sleep = await lab.untilProcess("sleep 300");
	const { supervisor, process: droid } = lab.record(id);
	process.kill(pidOf(supervisor), "SIGTERM");
	const task = await lab.untilTask(
		id,
		({ status }) => status !== "running",
		"its end",
	);
	expect(task).toMatchObject({
		status: "cancelled",
		reason: "shutdown",
		error: "stopped: its supervisor got SIGTERM",
	});
	expect([isAlive(pidOf(droid)), isAlive(sleep)]).toEqual([false, false]);
});

droidTest("a droid's definition takes effect", async (lab) => {
	const droids = join(lab.project, ".factory", "droids");
	mkdirSync(droids, { recursive: true });
	const body = 'You are the reader of this project.\nNever say "maybe".';
	const lines = [
		"---",
		"name: reader",
		"description: reads and reports",
		"model: custom:lab",
		"tools: [Read, Grep]",
		"---",
		body,
	];
	writeFileSync(join(droids, "reader.md"), lines.join("\n"));
	const id = await lab.launch("SAY[I am the reader.]", {
		droid: "reader",
		model: null,
	});
	await lab.bg(["wait", id]);
	expect(lab.record(id)).toMatchObject({
		status: "completed",
		agent: "reader",
		result: "I am the reader.",
	});
	const [request] = lab.model.requests();
	expect(request?.model).toBe("lab");
	expect(request && said(request, "system").join("\n")).toContain(body);
	const tools = request?.tools?.map((tool) => tool.function.name).sort();
	expect(tools).toEqual(["Grep", "Read"]);
});

droidTest(
	"a droid's commands know which task they are part of",
	async (lab) => {
		const id = await lab.launch("RUN[env]", {
			flags: ["--env", "GREETING=good day"],
			env: { BG_SESSION_ID: "chat-1", BG_STOP: "wait" },
		});
		await lab.bg(["wait", id]);
		const lines = (await lab.untilToolSaid(1)).split("\n");
		expect(lines).toContain(`BG_TASK_ID=${id}`);
		expect(lines).toContain("BG_DEPTH=1");
		expect(lines).toContain(`BG_DIR=${lab.dir}`);
		expect(lines).toContain("GREETING=good day");
		const names = lines.map((line) => line.split("=")[0]);
		for (const name of [
			"BG_SUPERVISOR",
			"BG_TASK_ENV",
			"BG_SESSION_ID",
			"BG_STOP",
		])
			expect(names).not.toContain(name);
	},
);

droidTest("a native subagent is part of its droid's task", async (lab) => {
	const id = await lab.launch(
		"TASK[RUN[echo inside] SAY[The subagent is done.]] SAY[It runs.] SAY[It reported.]",
		{ autonomy: "high" },
	);
	await lab.bg(["wait", id]);
	expect(lab.record(id)).toMatchObject({
		status: "completed",
		result: "It reported.",
		progress: { toolCalls: 1, lastTool: "Task" },
	});
	const { stdout } = await lab.bg(["output", id]);
	expect(stdout).toContain("> output: The subagent is done.");
});

droidTest("a droid's launch gives its tool back at once", async (lab) => {
	const outer = await lab.launch(
		`RUN[${bg} run -q inner -- sh -c "${gate}; echo done" 2>&1 | cat] SAY[Launched.]`,
	);
	// The command stands at the gate and holds nothing: cat has seen the end of both pipes.
	expect((await lab.bg(["wait", outer])).code).toBe(0);
	const [inner = "", ...rest] = (await lab.untilToolSaid(1)).split("\n");
	expect(rest.join("")).toBe("[Process exited with code 0]");
	await lab.untilAtGate();
	expect(lab.record(inner).status).toBe("running");
	lab.openGate();
	expect((await lab.bg(["wait", inner])).code).toBe(0);
	expect(lab.record(inner)).toMatchObject({
		result: "done",
		parent_task_id: outer,
		depth: 2,
	});
});

droidTest("a task launched by a droid outlives the droid", async (lab) => {
	const outer = await lab.launch(
		`RUN[${bg} run -q inner -- sh -c "${gate}; echo done" >inner; sleep 300]`,
	);
	const sleep = await lab.untilProcess("sleep 300");
	await lab.untilAtGate();
	const inner = readFileSync(join(lab.project, "inner"), "utf8").trim();
	const parent = lab.record(outer);
	for (const identity of [parent.supervisor, parent.process])
		process.kill(pidOf(identity), "SIGKILL");
	// Droid's watcher kills the whole process group of a tool.
	await until(() => !isAlive(sleep), "the droid's tool to be killed");
	const child = lab.record(inner);
	expect(isAlive(pidOf(child.process))).toBe(true);
	expect(isAlive(pidOf(child.supervisor))).toBe(true);

	lab.openGate();
	expect((await lab.bg(["wait", inner])).code).toBe(0);
	expect(lab.record(inner)).toMatchObject({
		status: "completed",
		reason: "exit",
		exit_code: 0,
		result: "done",
		parent_task_id: outer,
		depth: 2,
	});
	expect((await lab.bg(["status", outer])).json()).toMatchObject({
		status: "error",
		reason: "lost",
	});
});

droidTest("cancel takes what a droid launched along", async (lab) => {
	const outer = await lab.launch(
		`RUN[${bg} run -q inner -- sleep 301] RUN[sleep 300]`,
	);
	const inner = (await lab.untilToolSaid(1)).split("\n")[0] ?? "";
	const sleeps = await Promise.all(
		["sleep 300", "sleep 301"].map(lab.untilProcess),
	);
	const cancelled = (await lab.bg(["cancel", outer])).json();
	expect(cancelled.tasks).toMatchObject([
		{ taskId: outer, status: "cancelled", survivors: [] },
		{ taskId: inner, status: "cancelled", survivors: [] },
	]);
	expect(sleeps.map(isAlive)).toEqual([false, false]);
});

droidTest("a droid whose supervisor died is watched again", async (lab) => {
	const id = await lab.launch(`RUN[${gate}] SAY[Still here.]`);
	await lab.untilAtGate();
	const { supervisor, process: droid } = lab.record(id);
	process.kill(pidOf(supervisor), "SIGKILL");
	await until(() => !isAlive(pidOf(supervisor)), "its supervisor's death");
	const adopted = (await lab.bg(["status", id])).json();
	expect(adopted).toMatchObject({ status: "running", process: droid });
	expect(adopted.supervisor.pid).not.toBe(pidOf(supervisor));
	lab.openGate();
	expect((await lab.bg(["wait", id])).code).toBe(0);
	// Nobody could wait for its exit code: its own completion line decides.
	expect(lab.record(id)).toMatchObject({
		status: "completed",
		reason: "stream",
		result: "Still here.",
	});
});

droidTest("what a droid leaves behind is named and lives", async (lab) => {
	const id = await lab.launch(
		"RUN[setsid sleep 302 </dev/null >/dev/null 2>&1 & echo started] SAY[It serves.]",
	);
	await lab.bg(["wait", id]);
	const server = await lab.untilProcess("sleep 302");
	const { status, result, left_behind } = await lab.untilTask(
		id,
		(task) => task.left_behind,
		"what it left behind",
	);
	expect([status, result]).toEqual(["completed", "It serves."]);
	expect(left_behind).toContainEqual({ pid: server, command: "sleep 302" });
	expect((await lab.bg(["cancel", id])).json().tasks).toMatchObject([
		{ status: "completed", cancelled: true, survivors: [] },
	]);
	expect(isAlive(server)).toBe(false);
});

droidTest("output --follow tells a droid's story to its end", async (lab) => {
	const id = await lab.launch(`RUN[${gate}] SAY[The end.]`);
	await lab.untilAtGate();
	const following = lab.bg(["output", id, "--follow"]);
	await lab.untilProcess(`${bgProgram.join(" ")} output ${id} --follow`);
	lab.openGate();
	const { code, stdout } = await following;
	expect(code).toBe(0);
	expect(stdout).toMatch(
		/^# session .*\n> RUN[\s\S]*\n→ Execute [\s\S]*\nThe end\.\n# done .*\n$/,
	);
});

droidTest("a droid's launches get at most its own autonomy", async (lab) => {
	const launch = `${bg} launch -q inner ${quote("SAY[From below.]")} executor-med main high custom:lab 2>/dev/null`;
	const run = `${bg} run -q inner -- true >/dev/null 2>&1; echo code $?`;
	const outer = await lab.launch(`RUN[${launch}] RUN[${run}]`, {
		autonomy: "low",
	});
	const inner = (await lab.untilToolSaid(1)).split("\n")[0] ?? "";
	expect(await lab.untilToolSaid(2)).toStartWith("code 111\n");
	expect((await lab.bg(["wait", outer, inner])).code).toBe(0);
	expect(lab.record(inner)).toMatchObject({
		autonomy: "low",
		parent_task_id: outer,
		result: "From below.",
	});
});

/** The examples of the skill that came with background-manager.py, each with a prompt of its own. */
const oldLines = [
	["Find auth patterns", "SAY[one]", "explorer", "main", "low"],
	["Fix API errors", "SAY[two]", "executor-med", "main", "medium"],
	["Fix auth", "SAY[three]", "executor-med", "main"],
	["Fix auth", "SAY[four]", "executor-med", "main"],
	["Fix auth", "SAY[five]", "executor-med", "main"],
	["a description", "SAY[six]", "librarian", "a-session"],
];

droidTest("the launch lines of the old skill run", async (lab) => {
	const words = ["Refactor auth", "SAY[no]", "executor-high", "main", "high"];
	const launches = [...oldLines, [...words, "opus"]].map(async (line) => {
		const answer = await lab.bg(["launch", ...line]);
		expect(answer).toMatchObject({ code: 0, stderr: "" });
		expect(answer.json().warnings).toBeUndefined();
		return String(answer.json().id);
	});
	const ids = await Promise.all(launches);
	const last = ids.pop() ?? "";
	expect((await lab.bg(["wait", ...ids])).code).toBe(0);
	for (const [index, id] of ids.entries()) {
		const [description, prompt, agent, session] = oldLines[index] ?? [];
		expect(lab.record(id)).toMatchObject({
			description,
			prompt,
			agent,
			parent_session_id: session,
			autonomy: index ? "medium" : "low",
			result: prompt?.slice("SAY[".length, -1),
		});
	}
	// The lab has no such model: droid says which there are.
	const waited = await lab.bg(["wait", last]);
	expect(waited.code).toBe(1);
	const { error } = waited.json().tasks[0];
	expect(error).toStartWith("exited 1: Invalid model: opus ");
	expect(error).toContain("Available custom models: custom:Lab-0 (Lab)");
	expect(error.match(/Invalid model/g)).toHaveLength(1);
});

droidTest("a built-in droid that only reads cannot write", async (lab) => {
	const id = await lab.launch("RUN[touch written] SAY[I tried.]", {
		droid: "code-reviewer",
		autonomy: "high",
	});
	await lab.bg(["wait", id]);
	expect(lab.record(id).status).toBe("completed");
	expect(existsSync(join(lab.project, "written"))).toBe(false);
	const [request] = lab.model.requests();
	const tools = request?.tools?.map((tool) => tool.function.name).sort();
	expect(tools).toEqual(["Glob", "Grep", "LS", "Read"]);
	expect(request && said(request, "system").join("\n")).toContain(
		"Change nothing: you can only read.",
	);
	// The same call by a droid that may write does write.
	const other = await lab.launch("RUN[touch written] SAY[Done.]", {
		droid: "test-engineer",
	});
	expect((await lab.bg(["wait", other])).code).toBe(0);
	expect(existsSync(join(lab.project, "written"))).toBe(true);
});

droidTest("each built-in droid is accepted by droid", async (lab) => {
	const { droids } = (await lab.bg(["droids"])).json();
	const names: string[] = droids.map(({ name }: { name: string }) => name);
	expect(names).toHaveLength(12);
	const ids: string[] = [];
	for (const droid of names) ids.push(await lab.launch("SAY[Hi.]", { droid }));
	const { tasks } = (await lab.bg(["wait", ...ids])).json();
	for (const task of tasks)
		expect(task).toMatchObject({ status: "completed", result: "Hi." });
	expect(tasks).toHaveLength(12);
});
