<?php
// Code of PHP's own compiler, a level deeper in each call: by way of array_map, since PHP's calls
// are no calls of the machine. Waits in the last one.
function level($number) {
    if ($number == 0) {
        fwrite(STDOUT, opcache_get_status()["jit"]["on"] ? "ready\n" : "off\n");
        sleep(60);
        return 0;
    }
    return array_sum(array_map('level', [$number - 1]));
}
level(8);
