import { describe, expect, test } from "bun:test";
import {
	existsSync,
	mkdirSync,
	openSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import {
	executable,
	isAlive,
	program,
	sandbox,
	until,
} from "../tools/harness.ts";

const quote = (words: string[]) =>
	words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");

test("arguments behind -- are untouched: empty ones, flags, quotes, newlines", async () => {
	const box = sandbox();
	const words = ["", "--help", "-q", "--", "a b", "'\"$(x)`\\", "\n", "😀"];
	const id = await box.run(["printf", "%s\\0", ...words]);
	await box.bg(["wait", id]);
	const bytes = readFileSync(join(box.dir, `${id}.out`), "utf8");
	expect(bytes.split("\0").slice(0, -1)).toEqual(words);
	expect(box.record(id).command).toEqual(["printf", "%s\\0", ...words]);
});

test.each([
	[["sh", "-c", "exit 0"], { status: "completed", exit_code: 0 }],
	[
		["sh", "-c", "exit 3"],
		{ status: "error", exit_code: 3, error: "exited 3" },
	],
	[
		["sh", "-c", "kill -9 $$"],
		{ status: "error", signal: "SIGKILL", error: "killed by SIGKILL" },
	],
])("%j ends as %j", async (command, end) => {
	const box = sandbox();
	const id = await box.run(command);
	await box.bg(["wait", id]);
	expect(box.record(id)).toMatchObject({ ...end, reason: "exit" });
});

describe("what cannot start says why", () => {
	test.each([
		["/none/such", /^never started: ENOENT/],
		["no-such-program", /^never started: ENOENT, no no-such-program on PATH/],
		["./plain.txt", /^never started: EACCES/],
		["./no-shebang", /^never started: ENOEXEC/],
		["./empty", /^never started: ENOEXEC/],
		["./folder", /^never started: EACCES/],
	])("%s", async (command, error) => {
		const box = sandbox();
		writeFileSync(join(box.home, "plain.txt"), "x", { mode: 0o644 });
		executable(box.home, "no-shebang", "echo hi\n");
		executable(box.home, "empty", "");
		mkdirSync(join(box.home, "folder"));
		const id = await box.run([command]);
		expect((await box.bg(["wait", id])).code).toBe(1);
		const { status, reason, error: said } = box.record(id);
		expect({ status, reason }).toEqual({ status: "error", reason: "spawn" });
		expect(said).toMatch(error);
	});
});

test("a program is not taken from the folder by a relative PATH", async () => {
	const box = sandbox();
	executable(box.home, "sneaky", "#!/bin/sh\necho taken\n");
	const id = await box.run(["sneaky"], { env: { PATH: `.:${box.env.PATH}` } });
	await box.bg(["wait", id]);
	expect(box.record(id).reason).toBe("spawn");
});

test("a task has its own launcher's environment, umask, folder and limits, whoever else launches", async () => {
	const box = sandbox();
	const show = "echo $WHO; umask; pwd; ulimit -n; ulimit -f; echo $BG_DEPTH";
	const bg = quote([...program, "run", "-q", "t", "--", "sh", "-c", show]);
	const launchers = [1, 2, 3, 4].map(async (n) => {
		const folder = join(box.home, `folder ${n}`);
		mkdirSync(folder);
		// Deno keeps what it compiled in a file of some megabytes.
		const script = `umask 00${n}7; ulimit -n ${512 + n}; ulimit -f ${900_000 + n}; exec ${bg}`;
		const { stdout } = await box.bg(["-c", script], {
			argv: ["sh"],
			cwd: folder,
			env: { WHO: `launcher ${n}` },
		});
		const id = stdout.trim();
		await box.bg(["wait", id]);
		const output = readFileSync(join(box.dir, `${id}.out`), "utf8");
		expect(output.trim().split("\n")).toEqual([
			`launcher ${n}`,
			`00${n}7`,
			folder,
			`${512 + n}`,
			`${900_000 + n}`,
			"1",
		]);
	});
	await Promise.all(launchers);
});

test("a soft limit of open files is the launching shell's, not the one a runtime raises it to", async () => {
	const box = sandbox();
	const show = "ulimit -Sn; ulimit -Hn";
	const bg = quote([...program, "run", "-q", "t", "--", "sh", "-c", show]);
	const script = `ulimit -Sn 345; ulimit -Hn; ${bg}; true`;
	const { stdout } = await box.bg(["-c", script], { argv: ["sh"] });
	const [hard, id = ""] = stdout.trim().split("\n");
	await box.bg(["wait", id]);
	const output = readFileSync(join(box.dir, `${id}.out`), "utf8");
	expect(output.trim().split("\n")).toEqual(["345", hard ?? ""]);
});

test("--cwd, --env, --stdin and --tag", async () => {
	const box = sandbox();
	const folder = join(box.home, "there");
	mkdirSync(folder);
	writeFileSync(join(folder, "in"), "read me");
	const id = (
		await box.bg(
			"run -q --cwd there --env A=1 --env B=x=y --env C=unseen --stdin in --tag t1 --tag t2 d --"
				.split(" ")
				.concat(
					"sh",
					"-c",
					'pwd; echo "$A $B"; cat; echo " $BG_TASK_ENV$BG_SUPERVISOR"',
				),
		)
	).stdout.trim();
	await box.bg(["wait", id]);
	const output = readFileSync(join(box.dir, `${id}.out`), "utf8");
	expect(output).toBe(`${folder}\n1 x=y\nread me \n`);
	expect(box.record(id).tags).toEqual(["t1", "t2"]);
	expect(JSON.stringify(box.record(id))).not.toContain("unseen");
});

test("a program sees the name it was called by", async () => {
	const box = sandbox();
	const id = await box.run(["sh", "-c", 'tr "\\0" " " < /proc/$$/cmdline']);
	const { tasks } = (await box.bg(["wait", id])).json();
	expect(tasks[0].result).toStartWith("sh -c");
});

test("stdin is empty by itself", async () => {
	const box = sandbox();
	const id = await box.run(["sh", "-c", "cat; echo end"]);
	const { tasks } = (await box.bg(["wait", id])).json();
	expect(tasks[0].result).toBe("end");
});

test("stdout and stderr stand in .out as they came", async () => {
	const box = sandbox();
	const id = await box.run(["sh", "-c", "echo a; echo b >&2; printf c"]);
	await box.bg(["wait", id]);
	expect(readFileSync(join(box.dir, `${id}.out`), "utf8")).toBe("a\nb\nc");
});

test("the launching shell is killed with -9, and the task goes on and is recorded", async () => {
	const box = sandbox();
	const bg = quote([...program, "run", "-q", "t", "--"]);
	const shell = Bun.spawn(
		["setsid", "sh", "-c", `${bg} sh -c 'sleep 0.7; echo done'; sleep 60`],
		{ cwd: box.home, env: box.env, stdout: "pipe" },
	);
	const reader = shell.stdout.getReader();
	const id = new TextDecoder().decode((await reader.read()).value).trim();
	process.kill(-shell.pid, "SIGKILL");
	const task = await box.untilTask(
		id,
		({ status }) => status === "completed",
		"the end of the task",
	);
	expect(task).toMatchObject({ result: "done", exit_code: 0 });
});

test("launching does not hold the launcher's stdout, nor any descriptor", async () => {
	const box = sandbox();
	const bg = quote([...program, "run", "-q", "t", "--", "sleep", "60"]);
	const file = join(box.home, "held");
	writeFileSync(file, "");
	// The pipe ends when nobody holds it: had the task or its supervisor got it, this would hang.
	const { stdout } = await box.bg(
		["-c", `exec 7>${file} 23>${file} 40>${file}; ${bg} 2>&1`],
		{ argv: ["bash"] },
	);
	const id = stdout.trim();
	const task = await box.untilTask(id, ({ process }) => process, "its process");
	for (const pid of [task.pid, task.supervisor?.pid]) {
		const { stdout } = await box.bg(["-l", `/proc/${pid}/fd`], {
			argv: ["ls"],
		});
		expect(stdout).not.toContain(file);
	}
	await box.bg(["cancel", id]);
});

test("an end stops nothing: what a task left behind lives on, and at most 20 of it are named", async () => {
	const box = sandbox();
	// Until its exec, a child has the command line of the shell.
	const script = [
		'for n in $(seq 25); do setsid sleep 600 & pids="$pids $!"; done',
		"for pid in $pids; do until grep -aq ^sleep /proc/$pid/cmdline; do sleep 0.1; done; done",
		"echo started",
	].join("; ");
	const id = await box.run(["sh", "-c", script]);
	expect((await box.bg(["wait", id])).code).toBe(0);
	const { left_behind = [] } = await box.untilTask(
		id,
		(task) => task.left_behind,
		"what it left behind",
	);
	expect(left_behind).toHaveLength(20);
	for (const { pid, command } of left_behind)
		expect([command, isAlive(pid)]).toEqual(["sleep 600", true]);
	const { tasks } = (await box.bg(["cancel", id])).json();
	expect(tasks[0]).toMatchObject({ status: "completed", cancelled: true });
	for (const { pid } of left_behind) expect(isAlive(pid)).toBe(false);
});

const untilGo = "until test -e go; do sleep 0.2; done; exit 4";

test("an output that turns odd while the task runs loses no end, and harms no other task", async () => {
	const box = sandbox();
	const other = await box.run(["true"]);
	const id = await box.run(["sh", "-c", untilGo]);
	await box.untilTask(id, ({ process }) => process, "its process");
	rmSync(join(box.dir, `${id}.out`));
	mkdirSync(join(box.dir, `${id}.out`));
	writeFileSync(join(box.home, "go"), "");
	expect((await box.bg(["wait", id, other])).code).toBe(1);
	expect(box.record(id)).toMatchObject({ status: "error", exit_code: 4 });
	expect((await box.bg(["list"])).json().total).toBe(2);
	expect(await box.bg(["output", id])).toMatchObject({ code: 111 });
});

test("folders that vanish while a task runs keep its end from nobody", async () => {
	const box = sandbox();
	const id = await box.run(["sh", "-c", untilGo]);
	await box.untilTask(id, ({ process }) => process, "its process");
	for (const name of readdirSync(box.dir))
		if (name.startsWith(".")) rmSync(join(box.dir, name), { recursive: true });
	writeFileSync(join(box.home, "go"), "");
	const end = await box.untilTask(id, (task) => task.completed_at, "its end");
	expect(end).toMatchObject({ status: "error", exit_code: 4 });
});

test("a supervisor whose whole store is gone leaves when its task ends", async () => {
	const box = sandbox();
	const id = await box.run(["sleep", "0.5"]);
	await box.untilTask(id, ({ process }) => process, "its process");
	rmSync(box.dir, { recursive: true });
	await until(() => box.alive().length === 0, "its supervisor gone");
	expect(existsSync(box.dir)).toBe(false);
});

test("a pipe as standard input is refused, for nobody may ever write to it", async () => {
	const box = sandbox();
	await Bun.$`mkfifo ${join(box.home, "pipe")}`;
	const answer = await box.bg(["run", "--stdin", "pipe", "d", "--", "cat"]);
	expect(answer).toMatchObject({ code: 2 });
	expect(answer.error).toContain("neither a file nor a device");
});

test("a supervisor killed with -9 leaves its task running; another takes over, once", async () => {
	const box = sandbox();
	const go = join(box.home, "go");
	const id = await box.run([
		"sh",
		"-c",
		`echo begun; while ! test -e ${go}; do sleep 0.2; done; echo ended`,
	]);
	const before = await box.untilTask(id, ({ process }) => process, "a process");
	process.kill(before.supervisor?.pid ?? 0, "SIGKILL");
	await until(() => !isAlive(before.supervisor?.pid ?? 0), "its death");
	await Promise.all([1, 2, 3, 4].map(() => box.bg(["list"])));
	const after = box.record(id);
	expect(after.status).toBe("running");
	expect(after.supervisor?.pid).not.toBe(before.supervisor?.pid);
	const supervisors = box
		.alive()
		.filter(({ command }) => command.includes("supervise"));
	expect(supervisors.map(({ pid }) => pid)).toEqual([
		after.supervisor?.pid ?? 0,
	]);
	openSync(go, "w");
	const task = await box.untilTask(
		id,
		({ status }) => status === "error",
		"an end",
	);
	expect(task).toMatchObject({
		reason: "lost",
		error: "ended while no supervisor watched it",
		result: "begun\nended",
	});
});

test("supervisor and process both killed: lost, and it says so", async () => {
	const box = sandbox();
	const id = await box.run(["sleep", "60"]);
	const task = await box.untilTask(id, ({ process }) => process, "a process");
	for (const pid of [task.supervisor?.pid ?? 0, task.pid ?? 0]) {
		process.kill(pid, "SIGKILL");
		await until(() => !isAlive(pid), "its death");
	}
	const { json } = await box.bg(["status", id]);
	expect(json()).toMatchObject({ status: "error", reason: "lost" });
	expect(box.record(id).status).toBe("error");
});

test("a logout's SIGTERM to the supervisor cancels the task", async () => {
	const box = sandbox();
	const id = await box.run(["sleep", "60"]);
	const task = await box.untilTask(id, ({ process }) => process, "a process");
	process.kill(task.supervisor?.pid ?? 0, "SIGTERM");
	const end = await box.untilTask(
		id,
		({ completed_at }) => completed_at,
		"an end",
	);
	expect(end).toMatchObject({
		status: "cancelled",
		reason: "shutdown",
		error: "stopped: its supervisor got SIGTERM",
	});
	expect(isAlive(task.pid ?? 0)).toBe(false);
});
