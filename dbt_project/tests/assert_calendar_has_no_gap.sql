with

    days as (

        select date_day, lag(date_day) over (order by date_day) as previous_day
        from {{ ref("dim_date") }}
        where date_key <> -1

    )

select *
from days
where {{ dbt.datediff("previous_day", "date_day", "day") }} <> 1
