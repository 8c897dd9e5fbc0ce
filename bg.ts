// The door: picks a path by argv, loads only that, and sets the exit code. The hook alone is at hand.
import { runHook } from "./lib/hook.ts";
import { exit, programArguments } from "./lib/runtime.ts";

async function run(argv: string[]): Promise<number> {
	if (argv[0] === "supervise") {
		const { supervise } = await import("./lib/supervise.ts");
		await supervise(argv.slice(1));
		return 0;
	}
	const isHook = argv[0] === "hook" || argv[0] === "hook-complete";
	if (isHook && !/^(-h|--help)$/.test(argv[1] ?? "")) {
		await runHook(argv[0] ?? "");
		return 0;
	}
	const { runCli } = await import("./lib/cli.ts");
	return runCli(argv);
}

// Waited for here: under Bun, whatever outlives the door's own evaluation pays for a garbage collection.
try {
	exit(await run(programArguments()));
} catch (error) {
	console.error(error instanceof Error ? error.stack : error);
	exit(70);
}
