import { podman } from "./daemons.ts";
import { testPulls } from "./pulls.ts";

testPulls(podman);
