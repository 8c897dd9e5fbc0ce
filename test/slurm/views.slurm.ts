/** What is shown of tasks on Slurm, what is asked for that, and what reaches their sessions. */
import { afterAll, describe, expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { command, toLines } from "../tools/batch.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import { executable, linesOf, program, standIn } from "../tools/harness.ts";
import { parent, payload, toolUse } from "../tools/hooks.ts";
import { addHooks } from "../tools/messages.ts";
import { openPty } from "../tools/pty.ts";
import { endOf } from "../tools/scripts.ts";
import { clusterBox, logCalls } from "./box.ts";
import { start } from "./cluster.ts";

const cluster = await start();
afterAll(cluster.end);

const held = ["--engine-args=--hold"];
const untilGo = "until test -e go; do sleep .1; done";

function withLog() {
	const box = clusterBox(cluster);
	return { box, listAsked: logCalls(box) };
}

describe("tasks on Slurm", () => {
	concurrentTest(
		"are shown with their job, its node and what it waits for, for one question",
		async () => {
			const { box, listAsked } = withLog();
			const runs = await box.submit(untilGo);
			const other = await box.submit(untilGo);
			const batch = await box.bg(
				["launch", "-q", "--on", "slurm", ...held, "--batch", "-"],
				{
					input: toLines(["a", "b", "c"].map((name) => command(name, "true"))),
				},
			);
			const [first = ""] = batch.stdout.split("\n");
			for (const id of [runs, other])
				await box.untilTask(id, ({ process }) => process, "its start");
			const { job, node } = box.record(runs).engine ?? {};
			const before = listAsked().length;
			const list = await box.bg(["list", "--text"]);
			const asked = listAsked().slice(before);
			expect(asked.map(({ name }) => name)).toEqual(["squeue"]);
			expect(list.stdout).toContain(`slurm ${job} on ${node}`);
			expect(list.stdout).toMatch(/queued: slurm \d+_0, waits: JobHeldUser/);
			expect(list.stdout).toMatch(/queued: slurm \d+_2, waits: JobHeldUser/);
			const waits_for = expect.stringMatching(
				/^queued: slurm \d+_0, waits: JobHeldUser$/,
			);
			const { tasks } = (await box.bg(["list"])).json();
			expect(tasks).toContainEqual(
				expect.objectContaining({ id: first, waits_for }),
			);
			expect((await box.bg(["status", first])).json()).toMatchObject({
				waits_for,
			});
			expect((await box.bg(["status", runs])).json()).toMatchObject({
				engine: { job, node },
			});
			const argv = [...cluster.on("login", box.home), ...program];
			const pty = openPty(box, ["watch"], { argv, columns: 120 });
			await pty.untilScreen(/slurm \d+ on n\d/);
			await pty.untilScreen(/slurm \d+_0, waits: JobHeldUser/);
			pty.type("q");
			expect(await pty.ended).toBe(0);
			writeFileSync(join(box.home, "go"), "");
			await box.bg(["cancel", "--all", "--yes"]);
		},
	);

	concurrentTest("are waited for with a question every 5 s", async () => {
		const { box, listAsked } = withLog();
		const ids = [
			await box.submit("true", held),
			await box.submit("true", held),
		];
		const before = listAsked().length;
		const waiting = box.bg(["wait", "--timeout", "12s", ...ids]);
		expect(await waiting).toMatchObject({ code: 124 });
		const asked = listAsked().slice(before);
		expect(asked.length).toBeGreaterThanOrEqual(2);
		// A busy machine may start one late, and the next one in time.
		const gaps = asked
			.slice(1)
			.map(({ at }, index) => at - (asked[index]?.at ?? 0));
		expect(Math.min(...gaps)).toBeGreaterThan(3000);
		await box.bg(["cancel", ...ids]);
	});

	concurrentTest(
		"are told to their session when they have ended, once",
		async () => {
			const box = clusterBox(cluster);
			const id = await box.submit("exit 3", [], { BG_SESSION_ID: parent });
			await box.untilTask(id, ({ completed_at }) => completed_at, "its end");
			const hook = async () => {
				const input = JSON.stringify(payload("SessionStart", parent));
				return (await box.bg(["hook"], { input })).stdout;
			};
			const told = await hook();
			expect(told).toContain(`- ${id} `);
			expect(told).toContain("exited 3");
			expect(await hook()).toBe("");
		},
	);
});

describe("a droid on a node", () => {
	concurrentTest("gets a message of bg send, once", async () => {
		const box = clusterBox(cluster);
		addHooks(box);
		const { stdout } = await box.bg(
			["launch", "-q", "--on", "slurm", "d", `RUN[${untilGo}]`],
			{
				env: { BG_DROID: standIn },
			},
		);
		const id = stdout.trim();
		const { droid_session_id: session = "", engine } = await box.untilTask(
			id,
			(task) => task.droid_session_id && task.process && task,
			"its session",
		);
		expect(await box.bg(["send", id, "some words"])).toMatchObject({ code: 0 });
		const hook = async () => {
			const input = JSON.stringify(toolUse(session));
			const call = { input, host: engine?.node ?? "", env: { BG_TASK_ID: id } };
			return (await box.bg(["hook"], call)).stdout;
		};
		expect(await hook()).toContain("> some words");
		expect(await hook()).toBe("");
		writeFileSync(join(box.home, "go"), "");
		expect(await endOf(box, id)).toMatchObject({ status: "completed" });
	});

	concurrentTest("is told to work in a worktree of its own", async () => {
		const box = clusterBox(cluster);
		const log = join(box.home, "argv");
		const droid = executable(
			box.home,
			"a-droid",
			`#!/bin/sh\necho "$PWD $*" >>${log}\nexec ${standIn} exec "SAY[x]"\n`,
		);
		const words = ["--worktree", "--cwd", box.home, "d", "a prompt"];
		const { stdout } = await box.bg(
			["launch", "-q", "--on", "slurm", ...words],
			{
				env: { BG_DROID: droid },
			},
		);
		await endOf(box, stdout.trim());
		expect(linesOf(log)).toEqual([
			expect.stringContaining(`${box.home} exec -w --auto medium `),
		]);
	});
});
