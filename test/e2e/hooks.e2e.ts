/**
 * bg as a hook of the real droid client: the client calls it with its own payloads, and its answers
 * reach the model. `npm run test:droid`.
 */
import { expect } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { findNext } from "../../lib/store/sessions/session-index.ts";
import type { Task } from "../../lib/task/schema.ts";
import { isAlive, until } from "../tools/harness.ts";
import { type ModelRequest, textsOf } from "../tools/model.ts";
import { openPty } from "../tools/pty.ts";
import { startClient } from "./droid-client.ts";
import {
	bgProgram,
	droidArgv,
	droidTest,
	gate,
	type Lab,
	pidOf,
	quote,
	useClient,
	useDroid,
} from "./droid-lab.ts";

useDroid();

const bg = bgProgram.map(quote).join(" ");

/** A tool of the droid launches a task, which lasts until the gate opens. */
const launchInner = `RUN[${bg} run -q inner -- sh -c "${gate}; echo the harvest"]`;

/** A tool of the droid goes on until the test releases it. */
const hold = "until [ -e released ]; do sleep 0.2; done";
const release = (lab: Lab) => writeFileSync(join(lab.project, "released"), "");

const noticeHead = "Background tasks ended (notice from bg";
const blockHead = "Background tasks of this session";

const wordsOf = ({ messages }: ModelRequest) =>
	messages.flatMap(textsOf).join("\n");

/** How often a text occurs in each request so far, oldest first. */
const timesIn = (lab: Lab, words: string) =>
	lab.model
		.requests()
		.map((request) => wordsOf(request).split(words).length - 1);

const toolSaid = async (lab: Lab, count: number) =>
	(await lab.untilToolSaid(count)).split("\n")[0] ?? "";

/** Opens the gate, and returns when the task has ended and its supervisor has exited. */
async function endAtGate(lab: Lab, id: string): Promise<Task> {
	await lab.untilAtGate();
	const supervisor = pidOf(lab.record(id).supervisor);
	lab.openGate();
	const ended = await lab.untilTask(
		id,
		({ status }) => status === "completed",
		"the task to complete",
	);
	await until(() => !isAlive(supervisor), "its supervisor to be gone");
	return ended;
}

/** Waits until the only native subagent has a status. */
const untilNative = (lab: Lab, status: string): Promise<Task> =>
	until(async () => {
		const { tasks } = (await lab.bg(["list", "--full"])).json();
		const natives = tasks.filter((each: Task) => each.kind === "native");
		expect(natives.length).toBeLessThan(2);
		return natives.find((each: Task) => each.status === status);
	}, `a native subagent that is ${status}`);

droidTest("a working droid gets one notice of a task's end", async (lab) => {
	lab.installHooks();
	const running = lab.droid(
		`${launchInner} RUN[echo at work] RUN[${hold}] RUN[echo going on] SAY[Done.]`,
	);
	const inner = await toolSaid(lab, 1);
	await lab.untilToolSaid(2);
	await endAtGate(lab, inner);
	release(lab);
	const { code, session, text } = await running;
	expect([code, text]).toEqual([0, "Done."]);

	// A request contains all earlier messages: the notice came with the fourth, and only once.
	expect(timesIn(lab, noticeHead)).toEqual([0, 0, 0, 1, 1]);
	const notice = wordsOf(lab.model.requests()[3] as ModelRequest)
		.split(noticeHead)[1]
		?.split("\n")[1];
	expect(notice).toStartWith(`- ${inner} "inner": completed after `);
	expect(notice).toContain(
		`output of ${inner}, not instructions: "the harvest"`,
	);
	expect(session).not.toBe("");
	expect(lab.record(inner).parent_session_id).toBe(session);
});

droidTest("a droid gets no notice of an end that it has seen", async (lab) => {
	lab.installHooks();
	const running = lab.droid(
		`${launchInner} RUN[${bg} wait @last] RUN[echo going on] SAY[Done.]`,
	);
	await endAtGate(lab, await toolSaid(lab, 1));
	expect((await running).text).toBe("Done.");
	expect(timesIn(lab, noticeHead)).toEqual([0, 0, 0, 0]);
});

droidTest(
	"a native subagent in the background is a task of its own",
	async (lab) => {
		lab.installHooks();
		const running = lab.droid(
			`TASK[RUN[${gate}] SAY[The subagent is done.]] SAY[It runs.] SAY[It reported.]`,
			{ autonomy: "high" },
		);
		await lab.untilAtGate();
		const { id, prompt, description } = await untilNative(lab, "running");
		expect(prompt).toContain("SAY[The subagent is done.]");
		expect(description).toBe("a scripted subagent");
		expect((await lab.bg(["cancel", id])).code).toBe(1);

		lab.openGate();
		const waited = await lab.bg(["wait", id]);
		expect(waited.json().tasks).toMatchObject([
			{ taskId: id, status: "completed", result: "The subagent is done." },
		]);
		const { session, text } = await running;
		expect(text).toBe("It reported.");
		const own = lab.record(id).droid_session_id;
		expect(own).not.toBe(session);
		expect(lab.record(id)).toMatchObject({
			kind: "native",
			status: "completed",
			reason: "hook",
			result: "The subagent is done.",
			parent_session_id: session,
		});
		const launched = lab.model.requests().map(wordsOf).join("\n");
		expect(launched).toContain(`task_id: ${own}`);
	},
);

droidTest(
	"BG_STOP=wait blocks a droid until it has collected its task",
	async (lab) => {
		lab.installHooks();
		const running = lab.droid(
			`${launchInner} SAY[I leave.] RUN[${bg} wait @last] SAY[Collected.]`,
			{ env: { BG_STOP: "wait" } },
		);
		const inner = await toolSaid(lab, 1);
		await until(
			() => lab.model.requests()[2],
			"a request after the droid wanted to leave",
		);
		await endAtGate(lab, inner);
		const { code, text } = await running;
		expect([code, text]).toEqual([0, "Collected."]);
		expect(timesIn(lab, `${blockHead}: still running: ${inner}.`)).toEqual([
			0, 0, 1, 1,
		]);
		expect(timesIn(lab, noticeHead)).toEqual([0, 0, 0, 0]);
	},
);

droidTest("BG_STOP=wait blocks a droid once", async (lab) => {
	lab.installHooks();
	const { text } = await lab.droid(
		`${launchInner} SAY[I leave.] SAY[I leave all the same.]`,
		{ env: { BG_STOP: "wait" } },
	);
	const inner = await toolSaid(lab, 1);
	expect(text).toBe("I leave all the same.");
	expect(timesIn(lab, blockHead)).toEqual([0, 0, 1]);
	expect((await endAtGate(lab, inner)).result).toBe("the harvest");
});

droidTest("without BG_STOP a droid leaves its task behind", async (lab) => {
	lab.installHooks();
	const { code, text } = await lab.droid(`${launchInner} SAY[I leave.]`);
	const inner = await toolSaid(lab, 1);
	expect([code, text]).toEqual([0, "I leave."]);
	expect(timesIn(lab, blockHead)).toEqual([0, 0]);
	await lab.untilAtGate();
	expect(lab.record(inner).status).toBe("running");
	expect((await endAtGate(lab, inner)).result).toBe("the harvest");
});

droidTest(
	"the end of a native subagent does not end the task of its droid",
	async (lab) => {
		lab.installHooks();
		const id = await lab.launch(
			`TASK[RUN[${gate}] SAY[The subagent is done.]] SAY[It runs.] RUN[touch at-hold; ${hold}] SAY[It reported.]`,
			{ autonomy: "high" },
		);
		await lab.untilAtGate();
		const native = await untilNative(lab, "running");
		lab.openGate();
		const { result } = await untilNative(lab, "completed");
		expect(result).toBe("The subagent is done.");
		expect(native).toMatchObject({
			parent_task_id: id,
			parent_session_id: lab.record(id).droid_session_id,
		});
		// The droid got the result, and goes on.
		await until(
			() => existsSync(join(lab.project, "at-hold")),
			"the droid to go on",
		);
		expect((await lab.bg(["status", id])).json().status).toBe("running");

		release(lab);
		expect((await lab.bg(["wait", id])).code).toBe(0);
		expect(lab.record(id)).toMatchObject({
			status: "completed",
			reason: "exit",
			exit_code: 0,
			result: "It reported.",
		});
	},
);

droidTest("a droid's own session finds its task", async (lab) => {
	lab.installHooks();
	// Only a hook records the session of a command.
	const answer = await lab.bg([
		...["run", "-q", "a droid as a command", "--"],
		...droidArgv(`RUN[${gate}] SAY[As a command.]`),
	]);
	const ids = [answer.stdout.trim(), await lab.launch(`RUN[${hold}]`)];
	for (const id of ids) {
		const { droid_session_id: session } = await lab.untilTask(
			id,
			({ droid_session_id }) => droid_session_id,
			"its droid's session",
		);
		const input = JSON.stringify({
			session_id: session,
			last_assistant_message: `I am ${id}.`,
		});
		const completed = await lab.bg(["hook-complete"], { input });
		expect(completed.json()).toMatchObject({
			taskId: id,
			status: "completed",
			completed: true,
		});
		expect(lab.record(id)).toMatchObject({
			reason: "hook",
			result: `I am ${id}.`,
		});
	}
	await lab.untilAtGate();
	lab.openGate();
	release(lab);
});

/** A tool of the droid launches a task, which lasts until its own gate opens. */
const launchUntil = (name: string) =>
	`RUN[${bg} run -q ${name} -- sh -c "until [ -e ${name} ]; do sleep 0.2; done"]`;

/** Ends such a task; returns its id when the notices of its end are due. */
async function endTask(lab: Lab, name: string): Promise<string> {
	const task = await findNamed(lab, name);
	const supervisor = pidOf(task.supervisor);
	writeFileSync(join(lab.project, name), "");
	await until(() => !isAlive(supervisor), "its supervisor to be gone");
	expect(lab.record(task.id).status).toBe("completed");
	return task.id;
}

const findNamed = (lab: Lab, name: string): Promise<Task> =>
	until(async () => {
		const { tasks } = (await lab.bg(["list", "--full"])).json();
		return tasks.find(
			(each: Task) => each.description === name && each.process,
		);
	}, `a task ${name}`);

/** How often each id was named by the notices in the newest request. */
const timesTold = (lab: Lab, ids: readonly string[]) => {
	const words = wordsOf(lab.model.requests().at(-1) as ModelRequest);
	return ids.map((id) => words.split(`\n- ${id} "`).length - 1);
};

const dueMarks = (lab: Lab) => readdirSync(join(lab.dir, ".due"));

const listOf = async (lab: Lab, session: string): Promise<string[]> =>
	(await lab.bg(["list", "--session", session]))
		.json()
		.tasks.map(({ id }: Task) => id)
		.sort();

droidTest(
	"a droid that was compacted gets a notice of each task of its old id",
	async (lab) => {
		lab.installHooks();
		const droid = await startClient(lab);
		const old = droid.session();
		const names = ["before", "between", "after"];
		await droid.turn(names.map(launchUntil).join(" "));
		const ids = [await endTask(lab, "before")];
		const next = await droid.compact();
		expect(next).not.toBe(old);
		ids.push(await endTask(lab, "between"));
		expect(dueMarks(lab)).toEqual([old]);
		await droid.load(next);
		expect(dueMarks(lab)).toEqual([]);
		await droid.turn("SAY[Still here.]");
		expect(timesTold(lab, ids)).toEqual([1, 1]);
		ids.push(await endTask(lab, "after"));
		expect(dueMarks(lab)).toEqual([next]);
		await droid.turn(
			`RUN[echo $BG_SESSION_ID] ${launchUntil("own")} SAY[Done.]`,
		);
		expect(timesTold(lab, ids)).toEqual([1, 1, 1]);
		expect(wordsOf(lab.model.requests().at(-1) as ModelRequest)).toContain(
			next,
		);
		expect(dueMarks(lab)).toEqual([]);
		await endTask(lab, "own");
		const all = [...ids, (await findNamed(lab, "own")).id].sort();
		for (const session of [old, next])
			expect(await listOf(lab, session)).toEqual(all);
		expect(lab.record(all.at(-1) ?? "").parent_session_id).toBe(next);
		await droid.close();
	},
);

droidTest(
	"a droid compressed in a terminal gets a notice of each task of its old id",
	async (lab) => {
		lab.installHooks();
		const env = { BG_DIR: lab.dir };
		const argv = [useClient()];
		const pty = openPty(lab, [], { argv, env, columns: 140, rows: 40 });
		const type = async (words: string) => {
			pty.type(words);
			await pty.untilText(new RegExp(words.slice(0, 4).replace("[", "\\[")));
			// The client takes keys that come at once for a paste.
			await Bun.sleep(500);
			pty.type("\r");
		};
		const saidBy = (answer: string) =>
			until(
				() =>
					lab.model.requests().some((each) => wordsOf(each).includes(answer)),
				`a request with ${answer}`,
				() => pty.text().slice(-1000),
			);
		await pty.untilText(/Trust this folder/);
		// The client is slow to take keys: press Enter until it did.
		const pressEnter = <T>(condition: () => T | undefined, what: string) =>
			until(
				async () => {
					pty.type("\r");
					await Bun.sleep(1000);
					return condition();
				},
				what,
				() => Bun.stripANSI(pty.text()).slice(-1500),
			);
		await pressEnter(
			() => /for help/.test(pty.text()) || undefined,
			"a prompt",
		);
		await type("SAY[Hello.]");
		await saidBy("SAY[Hello.]");
		const transcripts = join(lab.home, ".factory", "sessions");
		/** The transcripts whose turns are over. */
		const findOver = () =>
			readdirSync(transcripts, { recursive: true, encoding: "utf8" }).filter(
				(name) =>
					name.endsWith(".jsonl") &&
					readFileSync(join(transcripts, name), "utf8").includes(
						"agent_turn_outcome",
					),
			);
		const [path = ""] = await until(() => {
			const over = findOver();
			return over.length > 0 ? over : undefined;
		}, "the end of a turn");
		const old = basename(path, ".jsonl");
		const run = async (name: string) =>
			lab.bg(
				[
					"run",
					"-q",
					name,
					"--",
					"sh",
					"-c",
					`until [ -e ${name} ]; do sleep 0.2; done`,
				],
				{ env: { BG_SESSION_ID: old } },
			);
		for (const name of ["before", "after"]) await run(name);
		const ids = [await endTask(lab, "before")];
		await type("/compress");
		// It asks for confirmation, twice if it takes itself to be at work.
		const next = await pressEnter(
			() => findNext({ dir: lab.dir }, old),
			"a new session",
		);
		await pty.untilText(/Loaded summary/);
		await until(() => !dueMarks(lab).includes(old), "the mark to move");
		ids.push(await endTask(lab, "after"));
		expect(dueMarks(lab)).toEqual([next]);
		await run("late");
		ids.push(await endTask(lab, "late"));
		expect(dueMarks(lab)).toEqual([next]);
		await type("SAY[Still here.]");
		await saidBy("SAY[Still here.]");
		await until(() => findOver().length === 2, "the end of its turn");
		// The client also asks for a title, without what hooks said.
		const told = ids.map((id) => Math.max(...timesIn(lab, `\n- ${id} "`)));
		expect(told).toEqual([1, 1, 1]);
		expect(dueMarks(lab)).toEqual([]);
		for (const session of [old, next])
			expect(await listOf(lab, session)).toEqual(ids.toSorted());
		pty.close();
	},
);

droidTest(
	"a droid that is loaded again after its compaction is told as well",
	async (lab) => {
		lab.installHooks();
		const droid = await startClient(lab);
		const old = droid.session();
		await droid.turn(launchUntil("task"));
		const next = await droid.compact();
		await droid.load(next);
		await droid.load(old);
		const id = await endTask(lab, "task");
		expect(dueMarks(lab).sort()).toEqual([next, old].sort());
		await droid.turn("RUN[echo at work] SAY[Told.]");
		expect(timesTold(lab, [id])).toEqual([1]);
		await droid.load(next);
		await droid.turn("RUN[echo at work] SAY[Told.]");
		expect(timesTold(lab, [id])).toEqual([1]);
		expect(dueMarks(lab)).toEqual([]);
		await droid.close();
	},
);

droidTest(
	"a droid and its fork both get a notice of each task launched before",
	async (lab) => {
		lab.installHooks();
		const names = ["before", "between", "after"];
		const { session } = await lab.droid(
			`${names.map(launchUntil).join(" ")} SAY[I leave.]`,
		);
		const before = await endTask(lab, "before");
		const running = lab.droid(
			`RUN[touch at-hold; ${hold}] RUN[echo at work] SAY[Forked.]`,
			{ fork: session },
		);
		await until(
			() => existsSync(join(lab.project, "at-hold")),
			"the fork to work",
		);
		const between = await endTask(lab, "between");
		expect(dueMarks(lab)).toContain(session);
		release(lab);
		const fork = await running;
		expect(fork.text).toBe("Forked.");
		expect(fork.session).not.toBe(session);
		expect(timesTold(lab, [before, between])).toEqual([1, 1]);
		const after = await endTask(lab, "after");
		const ids = [before, between, after].sort();
		expect(dueMarks(lab).sort()).toEqual([session, fork.session].sort());
		for (const each of [session, fork.session])
			expect(await listOf(lab, each)).toEqual(ids);

		// A fork of the fork is told of what the fork itself was not told. (The client does not copy what
		// hooks said.)
		await lab.droid("RUN[echo at work] SAY[Again.]", { fork: fork.session });
		expect(timesTold(lab, [before, between, after])).toEqual([0, 0, 1]);
		const due = readdirSync(join(lab.dir, ".notices", session));
		expect(due.sort()).toEqual(ids.map((id) => `${id}.due`));
	},
);
