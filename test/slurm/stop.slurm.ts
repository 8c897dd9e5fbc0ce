import { afterAll, describe, expect } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Task } from "../../lib/task/schema.ts";
import { command, toLines } from "../tools/batch.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import { program, standIn, until } from "../tools/harness.ts";
import { endOf, outputOf, treeOf } from "../tools/scripts.ts";
import { type ClusterBox, clusterBox, logCalls, passingFiles } from "./box.ts";
import { start } from "./cluster.ts";

const cluster = await start();
afterAll(cluster.end);

const started = (box: ClusterBox, id: string) =>
	box.untilTask(id, ({ process }) => process, "its start");

/** Waits until a task has written a word. */
const said = (box: ClusterBox, id: string, word: string) =>
	until(
		() =>
			existsSync(join(box.dir, `${id}.out`)) &&
			outputOf(box, id).includes(word),
		`${word} of ${id}`,
	);

/** Waits for what `bg status` says a task waits for. Meanwhile Slurm may be too slow to answer. */
const noted = async (box: ClusterBox, id: string, note: RegExp) => {
	let seen = "";
	await until(
		async () => {
			seen = (await box.bg(["status", id])).json().waits_for ?? "";
			return note.test(seen);
		},
		`${note}`,
		() => seen,
	);
};

/** The jobs of a task that are not over. */
const jobsOf = async (id: string) =>
	(await cluster.slurm("squeue", "-h", "-o", "%i %j"))
		.split("\n")
		.filter((line) => line.endsWith(id));

/** Whether Slurm was asked to signal a job. */
const isRung = (job: string) =>
	new RegExp(`KILL_JOB JobId=${job} `).test(
		readFileSync(join(cluster.folder, "controller.log"), "utf8"),
	);

const show = (job: string) => cluster.slurm("scontrol", "show", "job", job);

const held = ["--engine-args=--hold"];

describe("bg cancel", () => {
	concurrentTest(
		"stops the tree on the node, from any host, and answers once it is gone",
		async () => {
			const box = clusterBox(cluster);
			const text = `trap 'echo TERM; exit 0' TERM; setsid sleep 300 & echo up; wait`;
			const ids = await Promise.all([box.submit(text), box.submit(text)]);
			for (const id of ids) await said(box, id, "up");
			const [first = "", second = ""] = ids;
			const node = box.record(second).engine?.node;
			const other = cluster.nodes.find((name) => name !== node) ?? "";
			for (const [id, host] of [
				[first, "login"],
				[second, other],
			] as const) {
				const answer = await box.bg(["cancel", id], { host });
				expect(answer).toMatchObject({ code: 0 });
				expect(answer.json().tasks).toMatchObject([
					{ taskId: id, status: "cancelled", cancelled: true, survivors: [] },
				]);
				expect(treeOf(id)).toEqual([]);
				expect(box.record(id)).toMatchObject({
					status: "cancelled",
					reason: "cancel",
					error: "stopped by bg cancel",
				});
				expect(outputOf(box, id)).toContain("TERM");
			}
			const again = await box.bg(["cancel", first]);
			expect(again).toMatchObject({ code: 1 });
			expect(again.json().tasks[0].note).toBe("already cancelled");
			await until(async () => !(await jobsOf(second)).length, "no job");
		},
	);

	concurrentTest("--signal KILL is what the tree gets first", async () => {
		const box = clusterBox(cluster);
		await box.sh("login", "mkfifo fifo");
		const id = await box.submit(`trap 'echo TERM' TERM; echo up; cat <>fifo`);
		await started(box, id);
		const answer = await box.bg(["cancel", "--signal", "KILL", id]);
		expect(answer).toMatchObject({ code: 0 });
		expect(box.record(id)).toMatchObject({
			status: "cancelled",
			stop: { signal: "KILL" },
		});
		expect(outputOf(box, id)).not.toContain("TERM");
	});

	concurrentTest(
		"ends what is pending at once, and takes all of it out of Slurm's queue",
		async () => {
			const box = clusterBox(cluster);
			const note = join(box.home, "noted");
			const env = { BG_ENGINE: "slurm", BG_ENGINE_ARGS: "--hold" };
			const lines = Array.from({ length: 30 }, (_, at) =>
				command(`t${at}`, "echo never"),
			);
			const batch = await box.bg(["launch", "--batch", "-"], {
				input: toLines(lines),
				env,
			});
			const single = await box.submit("echo never", [
				...held,
				"--on-end",
				`echo $BG_ENDED_STATUS >>${note}`,
			]);
			const ids: string[] = batch
				.json()
				.tasks.map((each: { id: string }) => each.id);
			// One of an array is cancelled alone.
			const [, odd = ""] = ids;
			expect(await box.bg(["cancel", odd])).toMatchObject({ code: 0 });
			expect((await jobsOf(ids[0] ?? "")).join()).toContain("_[0,2-29]");
			const listCalls = logCalls(box);
			const answer = await box.bg(["cancel", "--all", "--yes"]);
			expect(answer).toMatchObject({ code: 0 });
			expect(answer.json().tasks).toHaveLength(30);
			const cancels = listCalls().filter(({ name }) => name === "scancel");
			expect(cancels).toHaveLength(1);
			for (const id of [...ids, single]) {
				expect(box.record(id)).toMatchObject({ status: "cancelled" });
				expect(existsSync(join(box.dir, `${id}.out`))).toBe(false);
			}
			expect(await jobsOf(ids[0] ?? "")).toEqual([]);
			expect(await jobsOf(single)).toEqual([]);
			await until(
				() => existsSync(note) && readFileSync(note, "utf8") === "cancelled\n",
				"its --on-end",
			);
		},
	);

	concurrentTest(
		"of a task that the node is just starting leaves one true end",
		async () => {
			const box = clusterBox(cluster);
			const log = join(box.home, "log");
			for (let round = 0; round < 6; round++) {
				const id = await box.submit(`echo ran >>${log}; sleep 300`);
				// Later each time: before the job starts, while it starts, and after that.
				await Bun.sleep(round * 250);
				const answer = await box.bg(["cancel", id]);
				expect(answer).toMatchObject({ code: 0 });
				const task = box.record(id);
				expect(task).toMatchObject({ status: "cancelled", reason: "cancel" });
				await until(async () => !(await jobsOf(id)).length, "no job");
				expect(treeOf(id)).toEqual([]);
				expect(box.record(id)).toEqual(task);
			}
		},
	);

	concurrentTest("stops what a task launched on its node", async () => {
		const box = clusterBox(cluster);
		const words = "run -q --on local inner -- sleep 300";
		const bg = program.join(" ");
		const id = await box.submit(`${bg} ${words}; sleep 300`);
		await said(box, id, "bg_");
		const inner = outputOf(box, id).trim();
		await started(box, inner);
		expect(await box.bg(["cancel", id])).toMatchObject({ code: 0 });
		for (const each of [id, inner]) {
			expect(box.record(each)).toMatchObject({ status: "cancelled" });
			expect(treeOf(each)).toEqual([]);
		}
	});
});

describe("Slurm ends a job:", () => {
	concurrentTest.each([
		["sleep 300"],
		[`trap 'exit 0' TERM; echo up; sleep 300 & wait`],
	])("scancel is a cancelled task, of %s", async (text) => {
		const box = clusterBox(cluster);
		const id = await box.submit(text);
		const { engine } = await started(box, id);
		if (text.includes("up")) await said(box, id, "up");
		await cluster.slurm("scancel", engine?.job ?? "");
		const task = await endOf(box, id);
		expect(task).toMatchObject({ status: "cancelled", reason: "shutdown" });
		expect(task.error).toContain(`(slurm ${engine?.job}: CANCELLED)`);
	});

	concurrentTest("its time limit is an error in Slurm's words", async () => {
		const box = clusterBox(cluster);
		const id = await box.submit("sleep 300");
		const { engine } = await started(box, id);
		const job = engine?.job ?? "";
		await cluster.slurm("scontrol", "update", `job=${job}`, "TimeLimit=0:01");
		// Slurm compares every 30 s.
		await until(
			() => box.record(id).completed_at,
			"its end",
			() => JSON.stringify(box.record(id)),
			100_000,
		);
		const task = box.record(id);
		expect(task).toMatchObject({
			status: "error",
			reason: "engine",
			error: `its time limit at Slurm was reached (slurm ${job}: TIMEOUT)`,
		});
	});

	concurrentTest(
		"put back with --requeue, it runs again, and what ran is an attempt",
		async () => {
			const box = clusterBox(cluster);
			const text =
				"echo run $BG_ATTEMPT; test -e go || sleep 300; test $BG_ATTEMPT = 3";
			// The run that is put back is none of its retries.
			const flags = ["--engine-args=--requeue", "--retries=1"];
			const id = await box.submit(text, flags);
			const { engine } = await started(box, id);
			const job = engine?.job ?? "";
			await said(box, id, "run 1");
			await cluster.slurm("scontrol", "requeue", job);
			const queued = await box.untilTask(
				id,
				({ status }) => status === "queued",
				"its record",
			);
			expect(queued.attempts).toMatchObject([
				{
					attempt: 1,
					error: `put back into the queue (slurm ${job}: REQUEUED)`,
				},
			]);
			await noted(box, id, new RegExp(`^queued: slurm ${job}, waits: `));
			writeFileSync(join(box.home, "go"), "");
			await until(async () => (await show(job)).includes("PENDING"), "pending");
			await cluster.slurm("scontrol", "update", `job=${job}`, "StartTime=now");
			const task = await endOf(box, id);
			expect(task).toMatchObject({
				status: "completed",
				attempt: 3,
				engine: { run: 1, job },
			});
			expect(outputOf(box, `${id}.1`)).toBe("run 1\n");
			expect(outputOf(box, `${id}.2`)).toBe("run 2\n");
			expect(outputOf(box, id)).toBe("run 3\n");
		},
	);

	concurrentTest(
		"a cancel of a task that was put back ends it at once",
		async () => {
			const box = clusterBox(cluster);
			const id = await box.submit("sleep 300", ["--engine-args=--requeue"]);
			const { engine } = await started(box, id);
			await cluster.slurm("scontrol", "requeue", engine?.job ?? "");
			await box.untilTask(
				id,
				({ status }) => status === "queued",
				"its record",
			);
			expect(await box.bg(["cancel", id])).toMatchObject({ code: 0 });
			expect(box.record(id)).toMatchObject({
				status: "cancelled",
				attempts: [{ attempt: 1 }],
			});
			await until(async () => !(await jobsOf(id)).length, "no job");
		},
	);

	concurrentTest(
		"its supervisor killed: the end of the job decides, and its processes are gone",
		async () => {
			const box = clusterBox(cluster);
			const id = await box.submit("sleep 300");
			const { engine, supervisor } = await started(box, id);
			const { node = "", job = "" } = engine ?? {};
			await box.sh(node, `kill -9 ${supervisor?.pid}`);
			await until(
				async () => (await box.bg(["status", id])).json().status === "error",
				"its end",
				() => JSON.stringify(box.record(id)),
			);
			const answer = box.record(id);
			expect(answer.reason).toBe("engine");
			expect(answer.error).toContain(
				`its supervisor was killed by signal 9 on ${node}`,
			);
			expect(answer.error).toContain(`(slurm ${job}: `);
			if (cluster.proctrack === "cgroup")
				await until(() => treeOf(id).length === 0, "no process");
			// Without cgroups: untracked.slurm.ts.
			for (const { pid } of treeOf(id)) process.kill(pid, "SIGKILL");
		},
	);
});

describe("bg edit", () => {
	concurrentTest(
		"changes the timeout of a job that waits for its next try, and tells it",
		async () => {
			const box = clusterBox(cluster);
			const text = `echo >>tries; test "$(wc -l <tries)" -gt 5 || exit 1; exec sleep 300`;
			const id = await box.submit(text, ["--retries", "6"]);
			// Before its sixth try it waits for 16 s.
			const isWaiting = ({ status, attempt }: Task) =>
				status === "queued" && attempt === 6;
			await box.untilTask(id, isWaiting, "its sixth try");
			const answer = await box.bg(["edit", id, "--timeout", "2s"]);
			expect(answer).toMatchObject({ code: 0 });
			const { job } = box.record(id).engine ?? {};
			await until(() => isRung(job ?? ""), `a ring of ${job}`);
			const reason = { reason: "timeout", attempt: 6 };
			expect(await endOf(box, id)).toMatchObject(reason);
		},
	);
});

describe("bg send", () => {
	concurrentTest(
		"reaches a command on a node: in order, once, from any host, and its end",
		async () => {
			const box = clusterBox(cluster);
			const id = await box.submit("cat", ["--stdin", "keep"]);
			await started(box, id);
			const node = box.record(id).engine?.node ?? "";
			const big = `${"x".repeat(300_000)}\n`;
			writeFileSync(join(box.home, "big"), big);
			const hosts = ["login", node, ...cluster.nodes];
			const lines: string[] = [];
			for (const [at, host] of hosts.entries()) {
				const line = `line ${at}`;
				expect(await box.bg(["send", id, line], { host })).toMatchObject({
					code: 0,
				});
				lines.push(line);
			}
			const file = ["--file", "big", "--timeout", "60s"];
			const whole = await box.bg(["send", id, ...file]);
			expect(whole.json().input).toEqual({ bytes: big.length, eof: false });
			const last = await box.bg(["send", id, "last", "--eof"]);
			expect(last).toMatchObject({ code: 0 });
			const closed = await box.bg(["send", id, "more"]);
			expect(closed).toMatchObject({ code: 111 });
			expect(await endOf(box, id)).toMatchObject({ status: "completed" });
			const text = `${lines.join("\n")}\n${big}last\n`;
			expect(outputOf(box, id)).toBe(text);
			expect(readdirSync(join(box.dir, ".input"))).toEqual([]);
		},
	);

	concurrentTest(
		"reaches the next attempt whole, after one that took a part",
		async () => {
			const box = clusterBox(cluster);
			const text =
				"test -e it || { touch it; head -c 1000 >/dev/null; exit 5; }; cat";
			const flags = ["--stdin", "keep", "--retries", "1"];
			const id = await box.submit(text, flags);
			await started(box, id);
			writeFileSync(join(box.home, "big"), "y".repeat(200_000));
			const file = ["--file", "big", "--timeout", "60s"];
			const cut = await box.bg(["send", id, ...file]);
			expect(cut.error).toContain("has closed its input");
			await box.untilTask(
				id,
				({ attempt, process }) => attempt === 2 && process,
				"its second attempt",
			);
			const whole = await box.bg(["send", id, "hello", "--eof"]);
			expect(whole).toMatchObject({ code: 0 });
			expect(await endOf(box, id)).toMatchObject({ status: "completed" });
			expect(outputOf(box, id)).toBe("hello\n");
		},
	);

	concurrentTest(
		"says what a command has not taken yet, which gets it later",
		async () => {
			const box = clusterBox(cluster);
			const text = "until test -e go; do sleep .1; done; cat";
			const id = await box.submit(text, ["--stdin", "keep"]);
			await started(box, id);
			writeFileSync(join(box.home, "big"), "y".repeat(200_000));
			const file = ["--file", "big", "--timeout", "1s"];
			const full = await box.bg(["send", id, ...file]);
			expect(full).toMatchObject({ code: 0 });
			expect(full.json().input).toMatchObject({ queued: true });
			const end = await box.bg(["send", id, "--eof", "--timeout", "0s"]);
			expect(end.json().input).toMatchObject({ eof: true, queued: true });
			writeFileSync(join(box.home, "go"), "");
			expect(await endOf(box, id)).toMatchObject({ status: "completed" });
			expect(outputOf(box, id)).toBe("y".repeat(200_000));
		},
	);
});

describe("bg complete", () => {
	concurrentTest(
		"ends a job that has not started: what follows its end happens at once",
		async () => {
			const box = clusterBox(cluster);
			const made = join(box.home, "made");
			const id = await box.submit("true", [
				...held,
				"--env",
				"SECRET=word",
				"--on-end",
				JSON.stringify(["touch", made]),
			]);
			const answer = await box.bg(["complete", id, "done"]);
			expect(answer).toMatchObject({ code: 0 });
			await until(() => existsSync(made), "its --on-end");
			expect(await jobsOf(id)).toEqual([]);
			expect(passingFiles(box)).toEqual([]);
			expect(box.record(id)).toMatchObject({
				status: "completed",
				result: "done",
			});
		},
	);
});

describe("a job's task", () => {
	concurrentTest(
		"is not paused, ordered or held by bg; its time limit can be edited while it is queued",
		async () => {
			const box = clusterBox(cluster);
			expect(await box.bg(["pause", "--queue"])).toMatchObject({ code: 0 });
			await box.bg(["limit", "1"]);
			const runs = await box.submit("sleep 300");
			const id = await box.submit("sleep 300", held);
			for (const each of [runs, id]) {
				const pause = await box.bg(["pause", each]);
				expect(pause).toMatchObject({ code: 111 });
				expect(pause.error).toMatch(
					/is a job of slurm.*\(.*scontrol (hold|suspend) \d+\)/,
				);
			}
			const order = await box.bg(["edit", id, "--priority", "5"]);
			expect(order).toMatchObject({ code: 111 });
			expect(order.error).toContain("slurm, which orders its jobs");
			const edit = await box.bg(["edit", id, "--timeout", "1s"]);
			expect(edit).toMatchObject({ code: 0 });
			await started(box, runs);
			const late = await box.bg(["edit", runs, "--timeout", "1s"]);
			expect(late).toMatchObject({ code: 111 });
			const [job = ""] = (await jobsOf(id))[0]?.split(" ") ?? [];
			await cluster.slurm("scontrol", "release", job);
			expect(await endOf(box, id)).toMatchObject({ reason: "timeout" });
			// Completed by hand, it runs on until it is cancelled.
			expect(await box.bg(["complete", runs, "done"])).toMatchObject({
				code: 0,
			});
			expect(treeOf(runs)).not.toEqual([]);
			expect(await box.bg(["cancel", runs])).toMatchObject({ code: 0 });
			expect(box.record(runs)).toMatchObject({ reason: "manual" });
			await until(() => treeOf(runs).length === 0, "no process");
		},
	);

	concurrentTest(
		"is retried and resumed where it ran, unless another place is named",
		async () => {
			const box = clusterBox(cluster);
			const env = { BG_DROID: standIn };
			const flags = ["--on", "slurm", "--engine-args", "--comment='a b' -c 2"];
			const first = await box.bg(["launch", "-q", ...flags, "d", "SAY[one]"], {
				env,
			});
			const id = first.stdout.trim();
			const { engine } = await endOf(box, id);
			const args = ["--comment=a b", "-c", "2"];
			expect(engine?.args).toEqual(args);
			const call = async (...words: string[]) => {
				const { stdout, error } = await box.bg([...words], { env });
				if (error) throw new Error(error);
				return endOf(box, stdout.trim());
			};
			const tasks = await Promise.all([
				call("retry", "-q", id),
				call("resume", "-q", id, "SAY[two]"),
				call("retry", "-q", id, "--on", "local"),
				call("retry", "-q", id, "--engine-args", ""),
			]);
			expect(tasks.map((task) => task.status)).toEqual(
				tasks.map(() => "completed"),
			);
			const [retried, resumed, local, plain] = tasks;
			expect([retried?.engine?.args, resumed?.engine?.args]).toEqual([
				args,
				args,
			]);
			expect(local).not.toHaveProperty("engine");
			expect(plain?.engine).toMatchObject({ name: "slurm" });
			expect(plain?.engine).not.toHaveProperty("args");
		},
	);
});
