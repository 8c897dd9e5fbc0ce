import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { quoteForShell } from "../../lib/process/self.ts";
import { command, filesOf, toLines } from "../tools/batch.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import { executable, root, until } from "../tools/harness.ts";
import { endOf } from "../tools/scripts.ts";
import {
	type ClusterBox,
	clusterBox,
	isUnanswered,
	passingFiles,
} from "./box.ts";
import { start } from "./cluster.ts";

const cluster = await start();
/** Its controller takes three jobs. */
const full = await start({ nodes: 1, config: { MaxJobCount: 3 } });
afterAll(async () => {
	await cluster.end();
	await full.end();
});

/** Two tasks in an array, one with arguments of its own, and one after another. */
const batchOf = (comment: string) => {
	const line = (name: string, more = {}) =>
		command(name, `echo ${name} >>"$BG_DIR.ran"`, {
			engine_args: `--comment=${comment}`,
			...more,
		});
	return toLines([
		line("a"),
		line("b"),
		line("c", { engine_args: `--comment=${comment} -p urgent` }),
		line("d", { after: ["a"] }),
	]);
};

/** What is true after the death of a launcher: the next verb finds all tasks or none. */
async function judge(
	box: ClusterBox,
	dir: string,
	comment: string,
): Promise<"all" | "none" | string> {
	const env = { BG_DIR: dir };
	const list = async () => (await box.bg(["list"], { env })).json();
	let { tasks } = await list();
	// Not settled while Slurm is too slow to answer.
	const jobs = join(dir, ".jobs");
	const isPending = () =>
		existsSync(jobs) &&
		readdirSync(jobs).some((name) => name.startsWith("pending,"));
	for (let tries = 0; isPending() && tries < 10; tries++)
		({ tasks } = await list());
	if (tasks.length && tasks.length < 4) return `${tasks.length} of 4`;
	if (tasks.length) await box.bg(["wait"], { env });
	const jobsLeft = async () => {
		const jobs = await cluster.slurm("squeue", "-h", "-o", "%k");
		return jobs.split("\n").includes(comment);
	};
	await until(async () => !(await jobsLeft()), `the jobs of ${comment} over`);
	const ran = existsSync(`${dir}.ran`)
		? readFileSync(`${dir}.ran`, "utf8").trim().split("\n").sort().join("")
		: "";
	const { completed } = await list();
	const left = [...passingFiles({ dir }), ...(ran ? [] : filesOf({ dir }))];
	if (left.length) return `left ${left.join()}`;
	if (tasks.length === 0) return ran ? `none, and ran ${ran}` : "none";
	return ran === "abcd" && completed === 4 ? "all" : `ran ${ran}`;
}

describe("a launcher that dies", () => {
	/** How many steps are left out between two. */
	const every = Number(process.env.EVERY ?? 4);

	test("after any of its steps leaves all tasks of a batch or none", async () => {
		const box = clusterBox(cluster);
		const crash = join(root, "test", "chaos", "crash.mjs");
		const argv = ["bun", crash];
		let step = 1;
		let isOver = false;
		const said: Record<string, number[]> = {};
		const crashAt = async (number: number) => {
			const comment = `step${number}`;
			const dir = join(box.home, comment);
			const { code } = await box.bg(["launch", "--batch", "-"], {
				argv,
				input: batchOf(comment),
				env: {
					BG_DIR: dir,
					BG_ENGINE: "slurm",
					CHAOS_PROGRAM: join(root, "dist", "bg.mjs"),
					CHAOS_CRASH: `verb:${number}`,
					CHAOS_LOG: join(box.home, "crashes"),
				},
			});
			if (code === 0) isOver = true;
			const verdict = await judge(box, dir, comment);
			said[verdict] = [...(said[verdict] ?? []), number];
		};
		const work = async () => {
			while (!isOver) {
				const number = step;
				step += every;
				await crashAt(number);
			}
		};
		await Promise.all([work(), work(), work(), work()]);
		const { all = [], none = [], ...wrong } = said;
		expect(wrong).toEqual({});
		expect(none.length).toBeGreaterThan(20 / every);
		expect(all.length).toBeGreaterThan(0);
	});

	test("at any time leaves all tasks or none, also if sbatch goes on", async () => {
		const box = clusterBox(cluster);
		const verdicts: string[] = [];
		const killAfter = async (ms: number) => {
			const comment = `time${ms}`;
			const dir = join(box.home, comment);
			const kill = ["timeout", "--foreground", "-s", "KILL", `${ms / 1000}`];
			await box.bg(["launch", "--batch", "-"], {
				argv: [...kill, join(root, "dist", "bg")],
				input: batchOf(comment),
				env: { BG_DIR: dir, BG_ENGINE: "slurm" },
			});
			if (!existsSync(dir)) mkdirSync(dir, { mode: 0o700 });
			verdicts.push(await judge(box, dir, comment));
		};
		const times = Array.from({ length: 10 }, (_, index) => 30 + 25 * index);
		await Promise.all(times.map(killAfter));
		expect(verdicts.filter((each) => !/^(all|none)$/.test(each))).toEqual([]);
	});

	test("before it noted a job leaves none in Slurm's queue", async () => {
		const box = clusterBox(cluster);
		const launch = async (comment: string) => {
			const dir = join(box.home, comment);
			const log = `${dir}.submitted`;
			const bin = `${dir}.bin`;
			executable(
				bin,
				"sbatch",
				`#!/bin/sh
${Bun.which("sbatch")} --hold "$@" || exit
echo x >>${log}
[ "$(grep -c x ${log})" = 1 ] || kill -9 $PPID
`,
			);
			const PATH = `${bin}:${box.env.PATH}`;
			const answer = await box.bg(["launch", "--batch", "-"], {
				input: batchOf(comment),
				env: { PATH, BG_DIR: dir, BG_ENGINE: "slurm" },
				once: true,
			});
			return { answer, comment, dir, log };
		};
		let last = await launch("halfway0");
		// Too slow, sbatch is killed before it has killed its launcher.
		for (let tries = 1; tries < 5 && isUnanswered(last.answer); tries++)
			last = await launch(`halfway${tries}`);
		expect(readFileSync(last.log, "utf8")).toBe("x\nx\n");
		expect(await judge(box, last.dir, last.comment)).toBe("none");
	});
});

describe("a launch", () => {
	concurrentTest("passes arguments on without a shell", async () => {
		const box = clusterBox(cluster);
		const comment = `$(touch ${box.home}/ran);\`id\` 'x"`;
		const id = await box.submit("true", [
			"--engine-args",
			`--hold --comment=${quoteForShell(comment)}`,
		]);
		const shown = await cluster.slurm("squeue", "-h", "-n", id, "-o", "%k");
		expect(shown.trim()).toBe(comment);
		expect(existsSync(join(box.home, "ran"))).toBe(false);
		expect(await box.bg(["cancel", id])).toMatchObject({ code: 0 });
	});

	concurrentTest(
		"of more than 1,000 is several arrays, and is cancelled as a whole",
		async () => {
			const box = clusterBox(cluster);
			const line = { description: "d", command: ["true"] };
			const launch = ["launch", "-q", "--on=slurm", "--engine-args=--hold"];
			const { code, stdout } = await box.bg([...launch, "--batch", "-"], {
				input: toLines(Array.from({ length: 1001 }, () => line)),
			});
			expect(code).toBe(0);
			const ids = stdout.trim().split("\n");
			expect(new Set(ids).size).toBe(1001);
			const names = [ids[0], ids[1000]].join();
			const ask = ["squeue", "-h", "-r", "-n", names, "-o", "%j"];
			const count = async () => {
				const listed = (await cluster.slurm(...ask)).trim().split("\n");
				return [ids[0], ids[1000]].map(
					(name) => listed.filter((each) => each === name).length,
				);
			};
			expect(await count()).toEqual([1000, 1]);
			expect(await box.bg(["cancel", "--all"])).toMatchObject({ code: 0 });
			expect((await box.bg(["list"])).json()).toMatchObject({
				total: 1001,
				cancelled: 1001,
			});
			await until(async () => `${await count()}` === "0,0", "no job");
		},
	);
});

describe("a launch that Slurm refuses", () => {
	/** Nothing is there afterwards. */
	const expectNothing = async (box: ClusterBox) => {
		expect((await box.bg(["list"])).json()).toMatchObject({ total: 0 });
		expect([...passingFiles(box), ...filesOf(box)]).toEqual([]);
	};

	concurrentTest("says so in Slurm's words, and leaves nothing", async () => {
		const box = clusterBox(cluster);
		const flags = ["--on", "slurm", "--engine-args", "-p none"];
		const answer = await box.bg(["run", ...flags, "d", "--", "true"]);
		expect(answer).toMatchObject({ code: 111 });
		expect(answer.error).toMatch(/^bg: Slurm: .*invalid partition[^\n]*\n$/i);
		await expectNothing(box);
		const lines = [
			command("a", "touch ran"),
			command("b", "touch ran", { engine_args: "--mem=1T" }),
		];
		const batch = await box.bg(["launch", "--batch", "-"], {
			input: toLines(lines),
			env: { BG_ENGINE: "slurm" },
		});
		expect(batch).toMatchObject({ code: 111 });
		expect(batch.error).toMatch(/^bg: Slurm: [^\n]*\n$/);
		await expectNothing(box);
		await Bun.sleep(1500);
		expect(existsSync(join(box.home, "ran"))).toBe(false);
	});

	concurrentTest("because it has too many jobs says that", async () => {
		const box = clusterBox(full);
		const go = "until test -e go; do sleep .1; done";
		const ids = [await box.submit(go), await box.submit(go)];
		const lines = [command("a", "true"), command("b", "true")];
		const env = { BG_ENGINE: "slurm" };
		const answer = await box.bg(["launch", "--batch", "-"], {
			input: toLines(lines),
			env,
		});
		expect(answer).toMatchObject({ code: 111 });
		const refusal =
			/^bg: Slurm takes no more jobs \([^\n]*unable to accept job[^\n]*\)\n$/;
		expect(answer.error).toMatch(refusal);
		// A job of its own, which sbatch tries to submit again and again.
		const words = ["run", "-q", "--on", "slurm", "d", "--", "sh", "-c", go];
		let single = await box.bg(words);
		for (; single.code === 0; single = await box.bg(words))
			ids.push(single.stdout.trim());
		expect(single.error).toMatch(refusal);
		const { total } = (await box.bg(["list"])).json();
		expect(total).toBe(ids.length);
		await box.sh("login", "touch go");
		for (const id of ids)
			expect(await endOf(box, id)).toMatchObject({ status: "completed" });
	});

	concurrentTest("because it is not installed says that", async () => {
		const box = clusterBox(cluster);
		const path = join(box.home, "bin");
		executable(path, "env", '#!/bin/sh\nexec /usr/bin/env "$@"\n');
		const answer = await box.bg(
			["run", "--on", "slurm", "d", "--", "/bin/true"],
			{
				argv: ["/usr/bin/env", `PATH=${path}`, join(root, "dist", "bg")],
			},
		);
		expect(answer).toMatchObject({ code: 111 });
		expect(answer.error).toMatch(/^bg: sbatch is not found: [^\n]*\n$/);
		await expectNothing(box);
	});
});

describe("what Slurm's programs print", () => {
	/** A program of Slurm that is not Slurm's, first in PATH. */
	const fake = (box: ClusterBox, name: string, text: string) => {
		const bin = join(box.home, "bin");
		executable(bin, name, `#!/bin/sh\n${text}\n`);
		return { env: { PATH: `${bin}:${box.env.PATH}` } };
	};

	const garbage = [
		["words", "echo what is this"],
		["nothing", ":"],
		["bytes", "head -c 100000 /dev/urandom"],
		[
			"control characters",
			`printf '\\033[2Jbg_1|1|0|\\033]0;x\\007|n1|1|why\\n'`,
		],
		["a wrong number of fields", "echo 'bg_1|2'"],
		["an error", "echo 'squeue: error: \\033[31mno' >&2; exit 1"],
		["nothing, for a long time", "exec sleep 600"],
	] as const;

	concurrentTest.each(garbage)(
		"if squeue prints %s, nothing follows",
		async (_, text) => {
			const box = clusterBox(cluster);
			const running = await box.submit("until test -e go; do sleep .1; done");
			const pending = await box.submit("true", ["--delay", "1h"]);
			await box.untilTask(running, ({ process }) => process, "its start");
			const options = fake(box, "squeue", text);
			const { code, stdout, stderr } = await box.bg(
				["list", "--text"],
				options,
			);
			expect(code).toBe(0);
			// biome-ignore lint/suspicious/noControlCharactersInRegex: they must not be there
			expect(stdout + stderr).not.toMatch(/[\x00-\x08\x0b-\x1f\x7f]/);
			await box.bg(["prune"], options);
			expect(box.record(running)).toMatchObject({ status: "running" });
			expect(box.record(pending)).toMatchObject({ status: "queued" });
			await box.bg(["cancel", pending]);
			await box.sh("login", "touch go");
			await endOf(box, running);
		},
	);

	const answers = [
		["words", "echo Submitted"],
		["control characters", `printf '\\033[2J12\\n'`],
		["nothing", ":"],
		["nothing, for a long time", "exec sleep 600"],
	] as const;

	concurrentTest.each(answers)(
		"if sbatch prints %s, nothing is launched",
		async (_, text) => {
			const box = clusterBox(cluster);
			const options = fake(box, "sbatch", text);
			const words = ["run", "--on", "slurm", "d", "--", "true"];
			const { code, error } = await box.bg(words, { ...options, once: true });
			expect(code).toBe(111);
			expect(error).toMatch(/^bg: [\x20-\x7e]*\n$/);
			expect([...passingFiles(box), ...filesOf(box)]).toEqual([]);
		},
	);
});
