import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
	existsSync,
	mkdirSync,
	readdirSync,
	renameSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { claimName } from "../../lib/process/identity.ts";
import type { Identity } from "../../lib/task/schema.ts";
import { program, until } from "../tools/harness.ts";
import { endOf, outputOf, treeOf } from "../tools/scripts.ts";
import { type ClusterBox, clusterBox } from "./box.ts";
import { type Cluster, start } from "./cluster.ts";

let cluster: Cluster;
beforeAll(async () => {
	cluster = await start();
});
afterAll(() => cluster.end());

const started = (box: ClusterBox, id: string) =>
	box.untilTask(id, ({ process }) => process, "its start");

/** Waits until a task has written a word. */
const said = (box: ClusterBox, id: string, word: string) =>
	until(() => outputOf(box, id).includes(word), `${word} of ${id}`);

const set = (...words: string[]) =>
	cluster.slurm("scontrol", "update", ...words);

const show = (job = "") => cluster.slurm("scontrol", "show", "job", job);

/** Waits until `bg status` shows an end. Meanwhile Slurm may be too slow to answer. */
async function endSeen(box: ClusterBox, id: string) {
	await until(
		async () => (await box.bg(["status", id])).json().completed_at,
		"its end",
		() => JSON.stringify(box.record(id)),
		100_000,
	);
	return box.record(id);
}

/** Starts a job at once that was put back. */
async function startAgain(job = "") {
	await until(async () => /JobState=PENDING/.test(await show(job)), "pending");
	await set(`job=${job}`, "StartTime=now");
}

const on = (node: string, more = "") => [`--engine-args=-w ${node} ${more}`];

/** Takes a lock as a process of a job would have taken it. */
async function claim(box: ClusterBox, lock: string, holder?: Identity) {
	if (!holder) throw new Error("no holder");
	const folder = join(box.dir, ".tmp", `claim-${lock}`);
	mkdirSync(folder, { mode: 0o700 });
	writeFileSync(join(folder, claimName(holder, "1000")), "", { mode: 0o600 });
	await until(() => {
		try {
			renameSync(folder, join(box.dir, ".locks", lock));
			return true;
		} catch {
			return false;
		}
	}, `the lock ${lock}`);
}

async function fail(node: string) {
	await cluster.killNode(node);
	await set(`node=${node}`, "state=down", "reason=gone");
}

describe("a node that dies", () => {
	test("ends its tasks in Slurm's words, and frees what its processes held", async () => {
		const box = clusterBox(cluster);
		const secret = ["--env", "SECRET=of mode 0600"];
		const id = await box.submit("echo up; sleep 300", [...on("n2"), ...secret]);
		const { supervisor, engine } = await started(box, id);
		await said(box, id, "up");
		await claim(box, id, supervisor);
		await claim(box, "unique", supervisor);
		const early = await box.bg(["complete", id, "no"]);
		expect(early.error).toContain("held by process");
		await fail("n2");
		const task = await endSeen(box, id);
		expect(task).toMatchObject({
			status: "error",
			reason: "engine",
			error: `node n2 failed (slurm ${engine?.job}: NODE_FAIL)`,
		});
		expect(outputOf(box, id)).toBe("up\n");
		const prompts = join(box.dir, ".prompts");
		expect(existsSync(prompts) ? readdirSync(prompts) : []).toEqual([]);
		const again = await box.submit("true", ["--unique", "key"]);
		expect(await endOf(box, again)).toMatchObject({ status: "completed" });
		await cluster.startNode("n2");
	});

	test("with --requeue they run elsewhere, though it held their records", async () => {
		const box = clusterBox(cluster);
		const text = "echo run $BG_ATTEMPT; test $BG_ATTEMPT = 2 || sleep 300";
		const id = await box.submit(text, ["--engine-args=--requeue"]);
		const { engine, supervisor } = await started(box, id);
		const node = engine?.node ?? "";
		await said(box, id, "run 1");
		await claim(box, id, supervisor);
		await fail(node);
		await startAgain(engine?.job);
		const task = await endSeen(box, id);
		expect(task).toMatchObject({
			status: "completed",
			attempt: 2,
			attempts: [{ attempt: 1 }],
			engine: { job: engine?.job, run: 1 },
			supervisor: { job: `${supervisor?.job}:1` },
		});
		expect(task.engine?.node).not.toBe(node);
		expect(outputOf(box, `${id}.1`)).toBe("run 1\n");
		expect(outputOf(box, id)).toBe("run 2\n");
		await cluster.startNode(node);
	});
});

describe("a job that makes room", () => {
	test.each([
		["ends its task as an error", "", "error"],
		["runs again with --requeue", "--requeue", "completed"],
	])("%s", async (_, flag, status) => {
		const box = clusterBox(cluster);
		const text = "echo run; test -e go || { touch go; sleep 300; }";
		const id = await box.submit(text, on("n1", `-c 4 ${flag}`));
		const { engine } = await started(box, id);
		const job = engine?.job ?? "";
		const other = (
			await cluster.slurm(
				...["sbatch", "--parsable", "-p", "urgent", "-w", "n1", "-c", "4"],
				...["-o", "/dev/null", "--wrap", "sleep 300"],
			)
		).trim();
		if (flag) {
			const queued = await box.untilTask(
				id,
				({ attempts }) => attempts,
				"its attempt",
			);
			const error = `put back into the queue (slurm ${job}: REQUEUED)`;
			expect(queued.attempts).toMatchObject([{ attempt: 1, error }]);
			await cluster.slurm("scancel", other);
			await startAgain(job);
		}
		const task = await endSeen(box, id);
		expect(task.status).toBe(status as "error");
		const error = `preempted (slurm ${job}: PREEMPTED)`;
		if (!flag) expect(task).toMatchObject({ reason: "engine", error });
		await cluster.slurm("scancel", other);
	});
});

test("a task that needs more memory than its job has says so", async () => {
	const box = clusterBox(cluster);
	const call = (...argv: string[]) =>
		box.bg([
			"run",
			"-q",
			"--on=slurm",
			"--engine-args=--mem=300M",
			"d",
			...argv,
		]);
	if (cluster.proctrack !== "cgroup") {
		console.log("left out without cgroups of version 1: out of memory");
		return;
	}
	const ids = await Promise.all([
		call("--", "tail", "/dev/zero"),
		call("--", "sh", "-c", "tail /dev/zero; exit 7"),
	]);
	const [plain = "", inner = ""] = ids.map(({ stdout }) => stdout.trim());
	const [first, second] = [
		await endSeen(box, plain),
		await endSeen(box, inner),
	];
	expect(first).toMatchObject({ status: "error", reason: "engine" });
	expect(first?.error).toMatch(/^out of memory \(slurm \d+: OUT_OF_MEMORY\)$/);
	expect(second).toMatchObject({
		status: "error",
		reason: "exit",
		exit_code: 7,
	});
	expect(second?.error).toMatch(/^exited 7: out of memory \(slurm \d+/);
});

describe("a controller that is down", () => {
	test("does not keep a cancel from its tasks", async () => {
		const box = clusterBox(cluster);
		const runs = await box.submit("echo up; sleep 300");
		const held = await box.submit("echo ran", ["--engine-args=--hold"]);
		await started(box, runs);
		await cluster.stopController();
		const launch = await box.bg(["run", "--on", "slurm", "d", "--", "true"], {
			once: true,
		});
		expect(launch).toMatchObject({ code: 111 });
		expect(launch.error).toContain("Slurm does not answer");
		const pending = await box.bg(["cancel", held]);
		expect(pending).toMatchObject({ code: 0 });
		const [result] = pending.json().tasks;
		expect(result).toMatchObject({ status: "cancelled", cancelled: true });
		expect(result.note).toContain("Slurm does not answer");
		// Its node looks at its record.
		const running = await box.bg(["cancel", runs]);
		expect(running).toMatchObject({ code: 0 });
		expect(box.record(runs)).toMatchObject({ reason: "cancel" });
		expect(treeOf(runs)).toEqual([]);
		await cluster.startController();
		const jobs = await cluster.slurm("squeue", "-h", "-o", "%i %j");
		const [job = ""] =
			jobs
				.split("\n")
				.find((line) => line.endsWith(held))
				?.split(" ") ?? [];
		await cluster.slurm("scontrol", "release", job);
		await until(
			async () => /JobState=COMPLETED/.test(await show(job)),
			"its end",
		);
		expect(readdirSync(box.dir)).not.toContain(`${held}.out`);
	});
});

describe("a second run of a task", () => {
	test("ends the first one and what it started, and nothing else", async () => {
		const box = clusterBox(cluster);
		const id = await box.submit(
			"echo run $BG_ATTEMPT; exec sleep 300",
			on("n3"),
		);
		const { engine, process } = await started(box, id);
		const words = [
			`export BG_DIR=${box.dir} HOME=${box.home} BG_SUPERVISOR=x`,
			'export BG_JOB="slurm:$SLURM_CLUSTER_NAME:$SLURM_JOB_ID"',
			`exec ${program.join(" ")} supervise --job ${id}`,
		];
		const job = await cluster.slurm(
			...["sbatch", "--parsable", "-w", "n3", "-J", id, "--chdir=/"],
			...["-o", "/dev/null", "--wrap", words.join("; ")],
		);
		await box.untilTask(
			id,
			(task) => task.attempt === 2 && task.process,
			"the second run",
		);
		const second = box.state(id);
		expect(second.engine).toMatchObject({ job: job.trim(), node: "n3" });
		await until(
			async () => /JobState=COMPLETED/.test(await show(engine?.job)),
			"the end of the first",
		);
		expect(await box.sh("n3", `test -e /proc/${process?.pid}`)).toMatchObject({
			code: 1,
		});
		expect(box.state(id)).toEqual(second);
		expect(outputOf(box, `${id}.1`)).toBe("run 1\n");
		expect(outputOf(box, id)).toBe("run 2\n");
		expect(treeOf(id)).toHaveLength(1);
		expect(await box.bg(["cancel", id])).toMatchObject({ code: 0 });
		expect(treeOf(id)).toEqual([]);
	});
});
