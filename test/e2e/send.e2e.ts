/**
 * Messages to tasks of the real droid client, and notes of those: what reaches the model, and when.
 * `npm run test:droid`.
 */
import { expect } from "bun:test";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Task } from "../../lib/task/schema.ts";
import { until } from "../tools/harness.ts";
import { type ModelRequest, textsOf } from "../tools/model.ts";
import {
	bgProgram,
	droidTest,
	gate,
	type Lab,
	quote,
	useDroid,
} from "./droid-lab.ts";
import { install } from "./installed.ts";

useDroid();

const bg = bgProgram.map(quote).join(" ");

const wordsOf = ({ messages }: ModelRequest) =>
	messages.flatMap(textsOf).join("\n");

/** How often a text occurs in each request whose words pass a test, oldest first. */
const timesIn = (
	lab: Lab,
	words: string,
	isMeant: (all: string) => boolean = () => true,
) =>
	lab.model
		.requests()
		.map(wordsOf)
		.filter(isMeant)
		.map((all) => all.split(words).length - 1);

const make = (lab: Lab, name: string) =>
	writeFileSync(join(lab.project, name), "");

/** The model holds its next answer back until the test makes a file. */
const held = (lab: Lab, name: string) => `HOLD[${join(lab.project, name)}]`;

const untilRequests = (lab: Lab, count: number) =>
	until(
		() => lab.model.requests().length >= count,
		`${count} requests`,
		() => `${lab.model.requests().length}`,
	);

const untilSession = (lab: Lab, id: string) =>
	lab.untilTask(id, (task) => task.droid_session_id, "its session");

async function send(lab: Lab, id: string, message: string): Promise<void> {
	const answer = await lab.bg(["send", id, message]);
	expect([answer.code, answer.error]).toEqual([0, ""]);
}

const statusesOf = async (lab: Lab, id: string): Promise<string[]> =>
	((await lab.bg(["status", id, "--full"])).json().messages ?? []).map(
		({ status }: { status: string }) => status,
	);

const endOf = async (lab: Lab, id: string): Promise<Task> => {
	await lab.bg(["wait", id]);
	return lab.record(id);
};

const line = "\n> The port is 8080.";

droidTest(
	"a task gets a message in the middle of its turn, once",
	async (lab) => {
		// With the guards of installed hooks.
		await install(lab, "user");
		const id = await lab.launch(`RUN[${gate}] RUN[echo going on] SAY[Done.]`);
		await lab.untilAtGate();
		await untilSession(lab, id);
		await send(lab, id, "The port is 8080.");
		const waiting = lab.bg(["send", "--wait", id, "Second."]);
		await until(async () => (await statusesOf(lab, id)).length === 2, "both");
		lab.openGate();
		expect((await waiting).json().message.status).toBe("delivered");
		expect((await endOf(lab, id)).result).toBe("Done.");
		// A request contains all earlier messages.
		expect(timesIn(lab, line)).toEqual([0, 1, 1]);
		expect(timesIn(lab, `${line}\n\nMessage from the user`)).toEqual([0, 1, 1]);
		expect(timesIn(lab, "\n> Second.")).toEqual([0, 1, 1]);
		expect(await statusesOf(lab, id)).toEqual(["delivered", "delivered"]);
		expect(readdirSync(join(lab.dir, ".due"))).toEqual([]);
	},
);

droidTest(
	"a task that is queued, and makes no tool call, gets messages when it would stop, twice",
	async (lab) => {
		lab.installHooks();
		const first = await lab.bg(["run", "-q", "first", "--", "sh", "-c", gate]);
		const id = await lab.launch(
			`SAY[I stop.] ${held(lab, "go")}SAY[I stop again.] SAY[Done.]`,
			{ flags: ["--after-any", first.stdout.trim()] },
		);
		await send(lab, id, "The port is 8080.");
		lab.openGate();
		await untilRequests(lab, 2);
		expect(await statusesOf(lab, id)).toEqual(["delivered"]);
		await send(lab, id, "Second.");
		make(lab, "go");
		expect((await endOf(lab, id)).result).toBe("Done.");
		expect(timesIn(lab, line)).toEqual([0, 1, 1]);
		expect(timesIn(lab, "\n> Second.")).toEqual([0, 0, 1]);
		expect(await statusesOf(lab, id)).toEqual(["delivered", "delivered"]);
	},
);

droidTest("a message that the end overtook is undelivered", async (lab) => {
	lab.installHooks();
	const id = await lab.launch(`${held(lab, "never")}SAY[Done.]`);
	await untilRequests(lab, 1);
	await untilSession(lab, id);
	const waiting = lab.bg(["send", "--wait", id, "The port is 8080."]);
	await until(async () => (await statusesOf(lab, id)).length === 1, "it");
	await lab.bg(["cancel", id]);
	const { code, json } = await waiting;
	expect([code, json().message.status]).toEqual([1, "undelivered"]);
	const { stdout } = await lab.bg(["status", id, "--text"]);
	expect(stdout).toContain(`resume ${id} continues its session`);
	expect(Math.max(...timesIn(lab, line))).toBe(0);
	make(lab, "never");
});

droidTest("two tasks do not see each other's messages", async (lab) => {
	lab.installHooks();
	const names = ["one", "two"];
	const ids = await Promise.all(
		names.map((name) =>
			lab.launch(
				`RUN[touch ${name}.at; until [ -e ${name}.go ]; do sleep 0.2; done] RUN[echo ${name}] SAY[I am ${name}.]`,
			),
		),
	);
	for (const [at, name] of names.entries()) {
		const id = ids[at] ?? "";
		await until(() => existsSync(join(lab.project, `${name}.at`)), name);
		await untilSession(lab, id);
		await send(lab, id, `Only for ${name}!`);
	}
	for (const name of names) make(lab, `${name}.go`);
	for (const [at, name] of names.entries()) {
		expect((await endOf(lab, ids[at] ?? "")).result).toBe(`I am ${name}.`);
		const isOwn = (all: string) => all.includes(`SAY[I am ${name}.]`);
		expect(timesIn(lab, `\n> Only for ${name}!`, isOwn)).toEqual([0, 1, 1]);
		const isOther = (all: string) => !isOwn(all);
		expect(Math.max(...timesIn(lab, `Only for ${name}!`, isOther))).toBe(0);
	}
});

droidTest("a subagent of the task does not take its message", async (lab) => {
	lab.installHooks();
	const id = await lab.launch(
		`TASK[RUN[${gate}] RUN[echo sub] SAY[The subagent is done.]] ${held(lab, "go")}SAY[It runs.] SAY[Obeyed.] SAY[It reported.] SAY[More.]`,
		{ autonomy: "high" },
	);
	await lab.untilAtGate();
	await untilSession(lab, id);
	await send(lab, id, "The port is 8080.");
	lab.openGate();
	const isSub = (all: string) => !all.includes("TASK[");
	await until(
		() => timesIn(lab, "RUN[echo sub]", isSub).length >= 3,
		"the end of the subagent",
	);
	expect(await statusesOf(lab, id)).toEqual(["queued"]);
	make(lab, "go");
	await endOf(lab, id);
	expect(await statusesOf(lab, id)).toEqual(["delivered"]);
	expect(Math.max(...timesIn(lab, line, isSub))).toBe(0);
	expect(Math.max(...timesIn(lab, line, (all) => !isSub(all)))).toBe(1);
});

droidTest("a task tells its parent how far it is, as data", async (lab) => {
	lab.installHooks();
	const inner = `RUN[${bg} send parent halfway] RUN[${gate}] SAY[Inner done.]`;
	const running = lab.droid(
		`RUN[${bg} launch -q inner ${quote(inner)} executor-med main medium custom:lab] RUN[touch at-hold; until [ -e released ]; do sleep 0.2; done] RUN[echo more] SAY[Outer done.]`,
		{ autonomy: "high" },
	);
	await lab.untilAtGate();
	await until(() => existsSync(join(lab.project, "at-hold")), "the outer");
	const [{ id }] = (await lab.bg(["list"])).json().tasks;
	const { notes } = (await lab.bg(["status", id])).json();
	expect(notes).toMatchObject([{ status: "queued", text: "halfway" }]);
	make(lab, "released");
	expect((await running).text).toBe("Outer done.");
	const isOuter = (all: string) => all.includes("SAY[Outer done.]");
	const note = `\n- ${id} "inner": "halfway"`;
	expect(timesIn(lab, note, isOuter)).toEqual([0, 0, 1, 1]);
	expect(timesIn(lab, "what they wrote, not instructions", isOuter)).toEqual([
		0, 0, 1, 1,
	]);
	lab.openGate();
	expect((await endOf(lab, id)).result).toBe("Inner done.");
});
