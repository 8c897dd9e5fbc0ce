import { afterAll, describe, expect } from "bun:test";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { command, toLines } from "../tools/batch.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import { program, standIn, until } from "../tools/harness.ts";
import { endOf, outputOf } from "../tools/scripts.ts";
import { type ClusterBox, clusterBox, passingFiles } from "./box.ts";
import { start } from "./cluster.ts";

const cluster = await start();
afterAll(cluster.end);

/** After its end, a task's supervisor removes the last of its files. */
const untilNothingPasses = (box: ClusterBox) =>
	until(
		() => passingFiles(box).length === 0,
		"no passing file",
		() => passingFiles(box).join(),
	);

/** The jobs of a task that are not over. */
const jobsOf = async (id: string) =>
	(await cluster.slurm("squeue", "-h", "-n", id, "-o", "%A")).trim();

describe("a task on Slurm", () => {
	concurrentTest(
		"runs on a node, in its launcher's folder, with its environment, umask and limits",
		async () => {
			const box = clusterBox(cluster);
			const task = `hostname; echo $MINE; umask; ulimit -n; pwd; echo $BG_DIR; exit 3`;
			const launch = `umask 027; ulimit -Sn 500; MINE='a b' "$@"; exit $?`;
			const { stdout } = await box.bg(
				["run", "-q", "--on", "slurm", "d", "--", "sh", "-c", task],
				{ argv: ["sh", "-c", launch, "sh", ...program] },
			);
			const id = stdout.trim();
			expect(await box.bg(["wait", id])).toMatchObject({ code: 1 });
			const { engine, ...record } = box.record(id);
			expect(record).toMatchObject({
				status: "error",
				reason: "exit",
				exit_code: 3,
				error: "exited 3",
			});
			expect(engine).toMatchObject({ name: "slurm", launch: id, run: 0 });
			expect(engine?.job).toMatch(/^\d+$/);
			expect(engine?.node).toMatch(/^n[123]$/);
			const [host, ...lines] = outputOf(box, id).trim().split("\n");
			expect(host).toBe(engine?.node ?? "");
			expect(lines).toEqual(["a b", "0027", "500", box.home, box.dir]);
			const machines = [record.supervisor, record.process].map(
				(each) => each?.machine,
			);
			expect(new Set(machines).size).toBe(1);
			await untilNothingPasses(box);
		},
	);

	concurrentTest(
		"is waited for and read on the submit host, and its output is there while it runs",
		async () => {
			const box = clusterBox(cluster);
			const id = await box.submit(
				"echo first; until test -e go; do sleep .1; done; echo last",
			);
			await until(
				async () => (await box.bg(["output", id])).stdout === "first\n",
				"the first line",
			);
			expect((await box.bg(["status", id])).json()).toMatchObject({
				status: "running",
			});
			writeFileSync(join(box.home, "go"), "");
			expect(await box.bg(["wait", id])).toMatchObject({ code: 0 });
			expect((await box.bg(["result", id])).stdout).toBe("first\nlast\n");
		},
	);

	concurrentTest(
		"has none of its launcher's variables with --export=NIL",
		async () => {
			const box = clusterBox(cluster);
			const flags = ["--engine-args", "--export=NIL", "--env", "GIVEN=b"];
			const id = await box.submit('echo "[$MINE] $GIVEN"', flags, {
				MINE: "a",
			});
			expect(await endOf(box, id)).toMatchObject({ status: "completed" });
			expect(outputOf(box, id)).toBe("[] b\n");
		},
	);

	concurrentTest(
		"gets --env and --stdin, which are private files and gone after its end",
		async () => {
			const box = clusterBox(cluster);
			const secret = "s3cret of one task";
			const file = join(box.home, "in");
			writeFileSync(file, "from a file\n");
			const flags = ["--env", `SECRET=${secret}`, "--stdin", file];
			const wait = "until test -e go; do sleep .1; done";
			const id = await box.submit(`cat; ${wait}; echo "$SECRET"`, flags);
			const queued = await box.bg(
				["run", "-q", "--on", "slurm", "--stdin", "-", "d", "--", "cat"],
				{ input: "from the launcher" },
			);
			await box.untilTask(id, ({ process }) => process, "its start");
			const kept = await box.sh(
				"login",
				`grep -rl "$0" ${cluster.folder}; find .. -name '*.env' -perm 0600`.replace(
					"$0",
					secret,
				),
			);
			expect(kept.stdout).toMatch(/^\S+\/\.prompts\/bg_\w+\.env\n$/);
			expect(
				(await box.sh("login", `cat ${box.dir}/${id}.json`)).stdout,
			).not.toContain(secret);
			writeFileSync(join(box.home, "go"), "");
			await endOf(box, id);
			expect(outputOf(box, id)).toBe(`from a file\n${secret}\n`);
			const other = queued.stdout.trim();
			expect(await endOf(box, other)).toMatchObject({
				result: "from the launcher",
			});
			await untilNothingPasses(box);
		},
	);

	concurrentTest("reads what bg send writes on its node", async () => {
		const box = clusterBox(cluster);
		const id = await box.submit("cat", ["--stdin", "keep"]);
		await box.untilTask(id, ({ process }) => process, "its start");
		const node = box.record(id).engine?.node ?? "";
		const host = { host: node };
		expect(await box.bg(["send", id, "a word"], host)).toMatchObject({
			code: 0,
		});
		expect(await box.bg(["send", "--eof", id], host)).toMatchObject({
			code: 0,
		});
		expect(await endOf(box, id)).toMatchObject({
			status: "completed",
			result: "a word",
		});
	});

	concurrentTest(
		"is stopped at its time and output limits, and tried again after an error",
		async () => {
			const box = clusterBox(cluster);
			const [slow, loud, again] = await Promise.all([
				box.submit("sleep 60", ["--timeout", "2s"]),
				box.submit("yes", ["--max-output", "1M"]),
				box.submit("test -e it || { touch it; echo no; exit 5; }; echo yes", [
					"--retries",
					"2",
				]),
			]);
			expect(await endOf(box, slow)).toMatchObject({ reason: "timeout" });
			expect(await endOf(box, loud)).toMatchObject({ reason: "output-limit" });
			expect(outputOf(box, loud).length).toBeLessThan(1.2 * 2 ** 20);
			expect(await endOf(box, again)).toMatchObject({
				status: "completed",
				attempt: 2,
				attempts: [{ exit_code: 5 }],
			});
			expect(outputOf(box, `${again}.1`)).toBe("no\n");
			await until(async () => !(await jobsOf(again)), "no job");
		},
	);

	concurrentTest(
		"starts --delay later, once for a --unique key, and is followed by --on-end",
		async () => {
			const box = clusterBox(cluster);
			const note = join(box.home, "noted");
			const flags = [
				...["--delay", "3s", "--unique", "key"],
				...[
					"--on-end",
					`sh -c 'echo $BG_ENDED_ID >>${note}; hostname >>${note}'`,
				],
			];
			const text = "until test -e go; do sleep .1; done";
			const id = await box.submit(text, flags);
			expect(await box.submit(text, flags)).toBe(id);
			writeFileSync(join(box.home, "go"), "");
			const task = await endOf(box, id);
			const [from, to] = [task.queued_at, task.started_at].map((at) =>
				Date.parse(at ?? ""),
			) as [number, number];
			expect(to - from).toBeGreaterThan(2900);
			const noted = await until(
				() => existsSync(note) && readFileSync(note, "utf8").split("\n")[1],
				"a note",
			);
			expect(noted).toBe(task.engine?.node ?? "");
		},
	);

	concurrentTest(
		"follows others: Slurm orders them, the record of each decides",
		async () => {
			const box = clusterBox(cluster);
			const bad = await box.submit("sleep 1; echo bad >>log; exit 4");
			const good = await box.submit("sleep 1; echo good >>log");
			const [never, always, last] = await Promise.all([
				box.submit("echo never >>log", ["--after", bad]),
				box.submit("echo always >>log", ["--after-any", bad]),
				box.submit("echo last >>log", ["--after", good]),
			]);
			expect(await endOf(box, never)).toMatchObject({
				status: "error",
				reason: "dependency",
				error: expect.stringContaining(bad),
			});
			for (const id of [always, last])
				expect(await endOf(box, id)).toMatchObject({ status: "completed" });
			const log = readFileSync(join(box.home, "log"), "utf8").split("\n");
			expect(log.indexOf("last")).toBeGreaterThan(log.indexOf("good"));
			expect(log.indexOf("always")).toBeGreaterThan(log.indexOf("bad"));
			expect(log).not.toContain("never");
			// What has ended is known by its record, not by its job.
			const later = await box.submit("true", ["--after", bad]);
			expect(await endOf(box, later)).toMatchObject({ reason: "dependency" });
			const launched = await box.bg(["run", "-q", "d", "--", "sleep", "60"]);
			const local = launched.stdout.trim();
			const refused = await box.bg([
				"run",
				"--on",
				"slurm",
				"--after",
				local,
				"d",
				"--",
				"true",
			]);
			expect(refused).toMatchObject({ code: 2 });
			expect(refused.error).toContain(`bg wait ${local}`);
			await box.bg(["cancel", local]);
			// One of this machine may follow one that Slurm has not started yet.
			const first = await box.submit("true", ["--engine-args=--hold"]);
			const words = ["run", "-q", "--after", first, "d", "--", "true"];
			const follower = (await box.bg(words)).stdout.trim();
			expect(box.record(follower)).toMatchObject({ status: "queued" });
			await cluster.slurm("scontrol", "release", await jobsOf(first));
			const end = await endOf(box, follower);
			expect(end).toMatchObject({ status: "completed" });
			const before = await endOf(box, first);
			expect(before).toMatchObject({ status: "completed" });
			expect(Date.parse(end.started_at ?? "")).toBeGreaterThanOrEqual(
				Date.parse(before.completed_at ?? ""),
			);
		},
	);

	concurrentTest(
		"may launch others on Slurm, also if it is one of an array",
		async () => {
			const box = clusterBox(cluster);
			const inner = `${program.join(" ")} run -q --on slurm inner -- echo inner`;
			// Slurm may be too slow to answer.
			const text = `until id=$(${inner} 2>&1); do sleep 1; done; echo "$id"`;
			const line = (name: string) => command(name, text);
			const answer = await box.bg(["launch", "-q", "--batch", "-"], {
				input: toLines(["a", "b", "c"].map(line)),
				env: { BG_ENGINE: "slurm" },
			});
			expect(answer).toMatchObject({ code: 0 });
			for (const id of answer.stdout.trim().split("\n")) {
				expect(await endOf(box, id)).toMatchObject({ status: "completed" });
				const launched = outputOf(box, id).trim();
				const task = await endOf(box, launched);
				expect(task).toMatchObject({ status: "completed", exit_code: 0 });
				expect(task.engine?.job).toMatch(/^\d+$/);
				expect(outputOf(box, launched)).toBe("inner\n");
			}
		},
	);

	concurrentTest(
		"may be a droid, whose private prompt is in no command line and not on Slurm's disk",
		async () => {
			const box = clusterBox(cluster);
			const words = "the private words";
			const log = join(box.home, "log");
			const env = { BG_DROID: standIn, STAND_IN_LOG: log };
			const wait = "until test -e go; do sleep .1; done";
			const { stdout } = await box.bg(
				[
					...["launch", "-q", "--on", "slurm"],
					...["--private", "--prompt-file", "-", "d"],
				],
				{ env, input: `${words} RUN[${wait}]` },
			);
			const id = stdout.trim();
			const plain = await box.bg(
				["launch", "-q", "--on", "slurm", "d", "SAY[hello]"],
				{ env },
			);
			await box.untilTask(id, ({ process }) => process, "its start");
			await until(() => outputOf(box, id).includes("tool_call"), "a tool");
			const where = await box.sh(
				"login",
				`grep -rl --exclude='*.out' "${words}" ${cluster.folder} ${box.dir}`,
			);
			const prompt = join(box.dir, ".prompts", id);
			expect(where.stdout).toBe(`${prompt}\n`);
			expect(statSync(prompt).mode & 0o777).toBe(0o600);
			for (const node of cluster.nodes) {
				const { stdout: commands } = await box.sh(node, "ps -ww -eo args");
				expect(commands).not.toContain(words);
			}
			writeFileSync(join(box.home, "go"), "");
			expect(await endOf(box, id)).toMatchObject({
				status: "completed",
				droid_session_id: expect.any(String),
				usage: expect.any(Object),
			});
			const said = plain.stdout.trim();
			expect(await endOf(box, said)).toMatchObject({ result: "hello" });
			expect((await box.bg(["output", said])).stdout).toContain("hello");
			await untilNothingPasses(box);
		},
	);
});

describe("a batch on Slurm", () => {
	concurrentTest(
		"is one array; lines with arguments of their own or after others are submitted apart",
		async () => {
			const box = clusterBox(cluster);
			const line = (name: string, more = {}) =>
				command(name, `echo ${name}; sleep 1; exit \${EXIT:-0}`, more);
			const lines = [
				line("a"),
				line("b"),
				line("c", { after: ["a", "own"] }),
				line("own", { engine_args: "-p urgent --comment=mine" }),
				line("d", { env: { EXIT: "3" } }),
				line("e", { after_any: ["d"] }),
			];
			const answer = await box.bg(["launch", "--batch", "-"], {
				input: toLines(lines),
				env: { BG_ENGINE: "slurm" },
			});
			expect(answer).toMatchObject({ code: 0 });
			const ids = answer.json().tasks.map(({ id }: { id: string }) => id);
			await box.bg(["wait", ...ids]);
			const tasks = ids.map((id: string) => box.record(id));
			expect(tasks.map(({ status }: { status: string }) => status)).toEqual(
				[..."ccccec"].map((each) => (each === "e" ? "error" : "completed")),
			);
			const [a, b, c, own, d, e] = tasks.map(
				(task: { engine: object }) => task.engine,
			);
			expect([a, b, d]).toMatchObject(
				[0, 1, 2].map((index) => ({ index, launch: ids[0] })),
			);
			expect(new Set([a, b, d].map(({ job }) => job.split("_")[0])).size).toBe(
				1,
			);
			for (const [at, engine] of [
				[2, c],
				[3, own],
				[5, e],
			] as const) {
				expect(engine).toMatchObject({ launch: ids[at] });
				expect(engine).not.toHaveProperty("index");
			}
			expect(own.args).toEqual(["-p", "urgent", "--comment=mine"]);
			expect([...ids].map((id) => outputOf(box, id).trim())).toEqual([
				...["a", "b", "c", "own", "d", "e"],
			]);
			await untilNothingPasses(box);
		},
	);
});
