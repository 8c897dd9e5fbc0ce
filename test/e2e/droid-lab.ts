/**
 * The real droid client for tests, without an account: installed by npm in a temporary folder, and
 * for each test a home, a project, a store and a scripted model of its own. Nothing is written to
 * the `~/.factory` of whoever runs the tests. What a test started is gone when it ends, else it
 * fails. The program under test is `dist/bg`, or what BG names.
 */
import { afterAll, beforeAll, setDefaultTimeout, test } from "bun:test";
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { hookEvents } from "../../lib/hook/events.ts";
import type { Identity } from "../../lib/task/schema.ts";
import {
	processesWith,
	program,
	root,
	type Sandbox,
	sandbox,
	until,
} from "../tools/harness.ts";
import { type Model, startModel, textsOf } from "../tools/model.ts";

const version = "0.215.0";

export const bgProgram = process.env.BG ? program : [join(root, "dist", "bg")];

let folder: string;
const client = () => join(folder, "node_modules", ".bin", "droid");

/** The program of the client that useDroid installed. */
export const useClient = client;

/** Installs droid for the tests of the file that calls this, and removes it after them. */
export function useDroid(): void {
	// No test fails because a machine is slow.
	setDefaultTimeout(240_000);
	beforeAll(async () => {
		folder = mkdtempSync(join(tmpdir(), "bg-droid-"));
		await installDroid();
	}, 300_000);
	afterAll(() => rmSync(folder, { recursive: true, force: true }));
}

export type LaunchOptions = {
	droid?: string;
	/** null: what the droid's definition says. */
	model?: string | null;
	autonomy?: string;
	flags?: string[];
	env?: Record<string, string>;
	input?: string;
};

export type Lab = Omit<Sandbox, "run"> & {
	/** Where droids run, and `bg` is called. */
	project: string;
	model: Model;
	/** Launches a droid and returns its task's id. */
	launch: (prompt: string, options?: LaunchOptions) => Promise<string>;
	/** Waits until the model was told what its tools said, and returns that. */
	untilToolSaid: (count: number) => Promise<string>;
	/** Waits for a process of this test by its command line, and returns its pid. */
	untilProcess: (command: string) => Promise<number>;
	/** Waits until a command stands at the gate, or opens it. */
	untilAtGate: () => Promise<unknown>;
	openGate: () => void;
	/** Makes bg a hook of every event it knows, for all droids of this test. */
	installHooks: () => void;
	/** Runs a droid as a person does, as no task of bg, to its end. */
	droid: (prompt: string, options?: DroidOptions) => Promise<DroidRun>;
};

export type DroidOptions = {
	autonomy?: string;
	env?: Record<string, string>;
	cwd?: string;
	/** The session to continue in a copy. */
	fork?: string;
};

export type DroidRun = {
	code: number;
	/** The droid's own session id. */
	session: string;
	/** Its last words. */
	text: string;
};

/** A command that lasts until the test opens the gate. It is run in the project. */
export const gate = "touch at-gate; until [ -e open ]; do sleep 0.2; done";

/** The argv of a droid on the scripted model. */
export const droidArgv = (prompt: string, autonomy = "medium") => [
	...["droid", "exec", "--auto", autonomy, "-m", "custom:lab"],
	...["-o", "stream-json", "--", prompt],
];

/** A test with a droid of its own. */
export function droidTest(
	title: string,
	body: (lab: Lab) => Promise<void>,
): void {
	test(title, async () => {
		const model = startModel();
		try {
			const lab = openLab(model);
			await body(lab);
			await until(
				() => leftovers(lab).length === 0,
				"everything that was started to be gone",
				() => JSON.stringify(leftovers(lab)),
			);
		} finally {
			await model.stop();
		}
	});
}

/** The session a process is in; see proc(5). */
export function sessionOf(pid: number): number {
	const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
	return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[3]);
}

export function pidOf(identity: Identity | undefined): number {
	if (!identity) throw new Error("the record names no such process");
	return identity.pid;
}

/** A word for the shell. */
export const quote = (word: string) => `'${word.replaceAll("'", "'\\''")}'`;

// --- internal ---

async function installDroid(): Promise<void> {
	const manifest = {
		private: true,
		dependencies: { droid: version },
		allowScripts: { droid: true },
	};
	writeFileSync(join(folder, "package.json"), JSON.stringify(manifest));
	const npm = ["npm", "install", "--no-audit", "--no-fund"];
	// Said outright: `npm run` leaves the prefix of this project in the environment.
	const install = () => run([...npm, "--prefix", folder], process.env);
	// The registry may fail to answer now and then.
	await install().catch(install).catch(install);
	const said = await run([client(), "--version"], { HOME: folder });
	const found = said.trim();
	if (found !== version) throw new Error(`droid ${found} is not ${version}`);
}

async function run(
	command: string[],
	env: Record<string, string | undefined>,
): Promise<string> {
	const child = Bun.spawn(command, {
		cwd: folder,
		stdin: "ignore",
		stdout: "pipe",
		stderr: "pipe",
		env: { ...env, FACTORY_DROID_AUTO_UPDATE_ENABLED: "false" },
	});
	const [stdout, stderr] = await Promise.all([
		new Response(child.stdout).text(),
		new Response(child.stderr).text(),
	]);
	if ((await child.exited) === 0) return stdout;
	throw new Error(`${command.join(" ")}: ${stdout}${stderr}`);
}

function openLab(model: Model): Lab {
	const { run: _, ...box } = sandbox();
	const project = join(box.home, "project");
	const temporary = join(box.home, "tmp");
	const settings = {
		customModels: [
			{
				model: "lab",
				displayName: "Lab",
				baseUrl: `http://127.0.0.1:${model.port}/v1`,
				apiKey: "none",
				provider: "generic-chat-completion-api",
				maxOutputTokens: 1000,
			},
		],
	};
	for (const path of [project, temporary, join(box.home, ".factory")])
		mkdirSync(path);
	writeFileSync(
		join(box.home, ".factory", "settings.json"),
		JSON.stringify(settings),
	);
	Object.assign(box.env, {
		PATH: `${dirname(client())}${delimiter}${box.env.PATH}`,
		TMPDIR: temporary,
		FACTORY_AIRGAP_ENABLED: "true",
		FACTORY_DROID_AUTO_UPDATE_ENABLED: "false",
	});
	const bg: Sandbox["bg"] = (args, options) =>
		box.bg(args, { argv: bgProgram, cwd: project, ...options });
	const launch: Lab["launch"] = async (
		prompt,
		{
			droid = "executor-med",
			model: name = "custom:lab",
			autonomy = "medium",
			flags = [],
			...options
		} = {},
	) => {
		const byFile = flags.includes("--prompt-file");
		const answer = await bg(
			[
				...["launch", "-q", ...flags, "a test"],
				...(byFile ? [] : [prompt]),
				...[droid, "main", autonomy, ...(name ? [name] : [])],
			],
			options,
		);
		if (answer.code !== 0) throw new Error(answer.error);
		return answer.stdout.trim();
	};
	const toolsSaid = () =>
		(model.requests().at(-1)?.messages ?? [])
			.filter(({ role }) => role === "tool")
			.map((message) => textsOf(message).join("\n"));
	const commands = () =>
		box.alive().map(({ pid, command }) => ({ pid, command: command.trim() }));
	return {
		...box,
		bg,
		project,
		model,
		launch,
		untilToolSaid: (count) =>
			until(
				() => toolsSaid()[count - 1],
				`answer ${count} of a tool`,
				() => JSON.stringify(toolsSaid()),
			),
		untilProcess: (command) =>
			until(
				() =>
					commands().find(
						(each) =>
							each.command === command || each.command.endsWith(`/${command}`),
					)?.pid,
				`a process ${command}`,
				() => JSON.stringify(commands()),
			),
		untilAtGate: () =>
			until(
				() => existsSync(join(project, "at-gate")),
				"a command at the gate",
			),
		openGate: () => writeFileSync(join(project, "open"), ""),
		installHooks: () =>
			writeFileSync(join(box.home, ".factory", "hooks.json"), hooksFile()),
		droid: async (prompt, { autonomy, env, cwd = project, fork } = {}) => {
			const [, verb = "", ...flags] = droidArgv(prompt, autonomy);
			const args = [verb, ...(fork ? ["--fork", fork] : []), ...flags];
			const child = Bun.spawn([client(), ...args], {
				cwd,
				env: { ...box.env, ...env },
				stdin: "ignore",
				stdout: "pipe",
				stderr: "inherit",
			});
			const stream = await new Response(child.stdout).text();
			const events = stream.split("\n").filter(Boolean).map(parseEvent);
			const find = (type: string) => events.find((each) => each.type === type);
			return {
				code: await child.exited,
				session: find("system")?.session_id ?? "",
				text: find("completion")?.finalText ?? "",
			};
		},
	};
}

/** Hooks as the client keeps them: events are top-level keys. */
function hooksFile(): string {
	const command = `${bgProgram.map(quote).join(" ")} hook`;
	const entry = [{ hooks: [{ type: "command", command, timeout: 5 }] }];
	return JSON.stringify(
		Object.fromEntries(Object.keys(hookEvents).map((event) => [event, entry])),
	);
}

type Event = { type: string; session_id?: string; finalText?: string };

const parseEvent = (line: string): Event => JSON.parse(line);

/** Whatever has this test's store, or its home, in its environment. */
const leftovers = (lab: Lab) => [
	...lab.alive(),
	...processesWith(`HOME=${lab.home}`),
];
