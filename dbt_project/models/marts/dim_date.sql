with

    calendar as (select date_day from {{ ref("int_calendar_days") }}),

    holidays as (select holiday_date, holiday_name from {{ ref("int_holidays") }}),

    known as (

        select
            {{ date_key("calendar.date_day") }} as date_key,
            calendar.date_day,
            cast(extract(year from calendar.date_day) as integer) as year_number,
            cast(extract(quarter from calendar.date_day) as integer) as quarter_number,
            cast(extract(month from calendar.date_day) as integer) as month_number,
            monthname(calendar.date_day) as month_name,
            cast({{ dbt.date_trunc("month", "calendar.date_day") }} as date) as month_start_date,
            cast(extract(isoyear from calendar.date_day) as integer) as iso_year_number,
            cast(extract(week from calendar.date_day) as integer) as week_number,
            cast({{ dbt.date_trunc("week", "calendar.date_day") }} as date) as week_start_date,
            cast(extract(day from calendar.date_day) as integer) as day_of_month_number,
            cast(extract(isodow from calendar.date_day) as integer) as day_of_week_number,
            dayname(calendar.date_day) as day_name,
            extract(isodow from calendar.date_day) >= 6 as is_weekend,
            holidays.holiday_date is not null as is_holiday,
            holidays.holiday_name
        from calendar
        left join holidays on calendar.date_day = holidays.holiday_date

    ),

    unknown as (

        select
            -1 as date_key,
            cast(null as date) as date_day,
            cast(null as integer) as year_number,
            cast(null as integer) as quarter_number,
            cast(null as integer) as month_number,
            'unknown' as month_name,
            cast(null as date) as month_start_date,
            cast(null as integer) as iso_year_number,
            cast(null as integer) as week_number,
            cast(null as date) as week_start_date,
            cast(null as integer) as day_of_month_number,
            cast(null as integer) as day_of_week_number,
            'unknown' as day_name,
            false as is_weekend,
            false as is_holiday,
            cast(null as varchar) as holiday_name

    ),

    final as (

        select *
        from known
        union all
        select *
        from unknown

    )

select *
from final
