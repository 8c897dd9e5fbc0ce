import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { appendFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { listTaskIds } from "../../lib/store/records.ts";
import { command, filesOf, toLines } from "../tools/batch.ts";
import { executable, program, until, untilWatching } from "../tools/harness.ts";
import { endOf, outputOf, treeOf } from "../tools/scripts.ts";
import { type ClusterBox, clusterBox, passingFiles } from "./box.ts";
import { start } from "./cluster.ts";

// MinJobAge: what is over is forgotten after seconds.
const cluster = await start({ nodes: 2, config: { MinJobAge: 2 } });
afterEach(cluster.startController);
afterAll(cluster.end);

/** A task that runs until a file is there. */
const untilGo = "echo begun; until test -e go; do sleep .1; done; echo ended";

const submitted = async (box: ClusterBox, text = untilGo, flags?: string[]) => {
	const id = await box.submit(text, flags);
	await box.untilTask(id, ({ process }) => process, "its start");
	await until(() => outputOf(box, id).includes("begun"), "its output");
	return id;
};

/** Kills the controller, which will know of nothing. Its nodes would refuse job numbers that they remember. */
const forget = async (): Promise<void> => {
	await cluster.killController();
	rmSync(join(cluster.folder, "state"), { recursive: true });
	mkdirSync(join(cluster.folder, "state"));
	appendFileSync(cluster.env.SLURM_CONF, "FirstJobId=1000\n");
};

/** Whether the controller has not heard from a node since it started. */
const isAnyNodeSilent = async () =>
	(await cluster.slurm("sinfo", "-h", "-t", "unknown", "-o", "%N")) !== "";

describe("the controller", () => {
	test("may be restarted: what runs and what waits goes on", async () => {
		const box = clusterBox(cluster);
		const running = await submitted(box);
		const waiting = await box.submit("echo began", ["--after", running]);
		await cluster.stopController();
		await box.sh("login", "touch go");
		await box.untilTask(running, ({ completed_at }) => completed_at, "an end");
		expect(box.record(running)).toMatchObject({ status: "completed" });
		await cluster.startController();
		expect(await endOf(box, waiting)).toMatchObject({ status: "completed" });
	});

	test("that is down refuses a launch in one sentence, and others go on", async () => {
		const box = clusterBox(cluster);
		const running = await submitted(box);
		const pending = await box.submit("true", ["--delay", "1h"]);
		await cluster.stopController();
		const words = ["--", "true"];
		const answer = await box.bg(["run", "--on", "slurm", "d", ...words], {
			once: true,
		});
		expect(answer).toMatchObject({ code: 111 });
		expect(answer.error).toMatch(/^bg: Slurm does not answer \([^\n]*\)\n$/);
		const batch = await box.bg(["launch", "--batch", "-"], {
			input: toLines([command("a", "true"), command("b", "true")]),
			env: { BG_ENGINE: "slurm" },
			once: true,
		});
		expect(batch).toMatchObject({ code: 111 });
		expect(passingFiles(box)).toEqual([]);
		expect(
			filesOf(box)
				.filter((name) => /json$/.test(name))
				.sort(),
		).toEqual([running, pending].map((id) => `${id}.json`).sort());
		const local = await box.bg(["run", "d", "--wait", ...words]);
		expect(local).toMatchObject({ code: 0 });
		const list = await box.bg(["list", "--text"]);
		expect(list.code).toBe(0);
		expect(list.stdout + list.stderr).toContain("Slurm does not answer");
		await box.bg(["prune"]);
		expect(box.record(running)).toMatchObject({ status: "running" });
		expect(box.record(pending)).toMatchObject({ status: "queued" });
		await box.sh("login", "touch go");
		expect(await box.bg(["wait", running])).toMatchObject({ code: 0 });
		await cluster.startController();
		await box.bg(["cancel", pending]);
		await endOf(box, pending);
	});

	test("that was down: the next call of bg withdraws a launch that died halfway, also while another call waits for it", async () => {
		const box = clusterBox(cluster);
		const bin = join(box.home, "bin");
		executable(bin, "sbatch", "#!/bin/sh\nkill -9 $PPID\n");
		const PATH = `${bin}:${box.env.PATH}`;
		const words = ["run", "--on", "slurm", "d", "--", "true"];
		await box.bg(words, { env: { PATH }, once: true });
		await cluster.stopController();
		const [id = ""] = listTaskIds(box);
		const waiting = box.bg(["wait", id]);
		await untilWatching(box, `wait ${id}`);
		expect((await box.bg(["list"])).json()).toMatchObject({ queued: 1 });
		await cluster.startController();
		await until(
			async () => (await box.bg(["list"])).json().total === 0,
			"the launch withdrawn",
		);
		expect((await waiting).error).toContain(`no task "${id}"`);
		expect(passingFiles(box)).toEqual([]);
	});

	test("that forgets its jobs: their tasks are lost, but not before the nodes have said what runs", async () => {
		const box = clusterBox(cluster);
		const running = await submitted(box);
		const pending = await box.submit("true", ["--delay", "1h"]);
		await forget();
		await cluster.startController();
		// Until its nodes have said what runs, nothing follows from what it does not know.
		while (await isAnyNodeSilent()) {
			await box.bg(["prune"]);
			const seen = [running, pending].map((id) => box.record(id).status);
			if (await isAnyNodeSilent()) expect(seen).toEqual(["running", "queued"]);
		}
		await until(async () => {
			await box.bg(["prune"]);
			return box.record(pending).completed_at;
		}, "its end");
		expect(box.record(pending)).toMatchObject({
			status: "error",
			reason: "lost",
			error: expect.stringContaining("engine has no job for it"),
		});
		// A job that it does not know is ended by its node with SIGKILL.
		expect(await endOf(box, running)).toMatchObject({
			status: "error",
			reason: "lost",
		});
		expect(treeOf(running)).toEqual([]);
	});
});

describe("a job", () => {
	test.each([
		["another", "-x"],
		["the same", "-w"],
	])(
		"that starts twice, on %s node: the older run stops itself and is an attempt",
		async (_, flag) => {
			const box = clusterBox(cluster);
			const id = await submitted(
				box,
				`echo begun $SLURM_JOB_ID; until test -e go; do sleep .1; done; echo ended`,
			);
			const first = box.record(id).engine;
			// What a controller does that has forgotten the start of a job.
			await box.sh(
				"login",
				`sbatch ${flag} ${first?.node} --job-name=${id} --output=/dev/null --chdir=/ --no-requeue <<'END'
#!/bin/sh
export BG_DIR=${box.dir} BG_JOB=slurm:$SLURM_CLUSTER_NAME:$SLURM_JOB_ID
exec ${program.join(" ")} supervise --job ${id}
END`,
			);
			const second = await box.untilTask(
				id,
				({ attempt, process }) => attempt === 2 && process,
				"a second run",
			);
			expect(Number(second.engine?.job)).toBeGreaterThan(Number(first?.job));
			await until(
				async () =>
					!(await cluster.slurm("squeue", "-h", "-t", "R", "-o", "%A"))
						.split("\n")
						.includes(String(first?.job)),
				"the older job over",
			);
			expect(treeOf(id).length).toBeGreaterThan(0);
			await box.sh("login", "touch go");
			const { engine, attempts, ...task } = await endOf(box, id);
			expect(task).toMatchObject({ status: "completed", attempt: 2 });
			expect(engine?.job).toBe(second.engine?.job ?? "");
			expect(attempts).toHaveLength(1);
			expect(attempts?.[0]?.error).toContain("started again on");
			expect(outputOf(box, `${id}.1`)).toBe(`begun ${first?.job}\n`);
			expect(outputOf(box, id)).toBe(`begun ${engine?.job}\nended\n`);
		},
	);

	test("that is cancelled at Slurm is cancelled, whether it runs or waits", async () => {
		const box = clusterBox(cluster);
		const running = await submitted(box);
		const pending = await box.submit("true", ["--delay", "1h"]);
		const lines = ["a", "b", "c"].map((name) =>
			command(name, "true", { delay: "1h", on: "slurm" }),
		);
		const batch = await box.bg(["launch", "-q", "--batch", "-"], {
			input: toLines(lines),
		});
		const array = batch.stdout.trim().split("\n");
		for (const id of [running, pending, array[0]])
			await cluster.slurm("scancel", `--name=${id}`);
		for (const id of [running, pending, ...array])
			expect(await endOf(box, id)).toMatchObject({
				status: "cancelled",
				reason: "shutdown",
				error: expect.stringContaining("cancelled at Slurm (slurm "),
			});
		expect(outputOf(box, running)).toBe("begun\n");
		await until(() => treeOf(running).length === 0, "its processes gone");
	});

	test("that is forgotten before anybody asks: the record, else the log, else lost", async () => {
		const box = clusterBox(cluster);
		const recorded = await box.submit("exit 3");
		const [logged, lost] = [await submitted(box), await submitted(box)];
		const jobs = [logged, lost].map((id) => box.record(id).engine?.job ?? "");
		// Nobody is left to record the end.
		for (const id of [logged, lost]) {
			const { supervisor, engine } = box.record(id);
			const pids = `kill -9 ${supervisor?.pid}`;
			await box.sh(engine?.node ?? "", pids);
		}
		await box.untilTask(recorded, ({ completed_at }) => completed_at, "an end");
		await until(
			async () => {
				const text = await cluster.slurm(
					"squeue",
					"-h",
					"-t",
					"all",
					"-o",
					"%A",
				);
				return !jobs.some((job) => text.split("\n").includes(job));
			},
			"the jobs forgotten",
			() => "",
			120_000,
		);
		const log = join(cluster.folder, "jobcomp.log");
		await box.sh("login", `sed -i '/JobId=${jobs[1]} /d' ${log}`);
		expect(await endOf(box, recorded)).toMatchObject({ exit_code: 3 });
		expect(await endOf(box, logged)).toMatchObject({
			status: "error",
			reason: "engine",
			error: expect.stringContaining(`slurm ${jobs[0]}: `),
		});
		expect(await endOf(box, lost)).toMatchObject({
			status: "error",
			reason: "lost",
		});
		expect(existsSync(join(box.home, "go"))).toBe(false);
		for (const id of [logged, lost])
			await until(() => treeOf(id).length === 0, "its processes gone");
	});
});
